"""What studies and notebooks share: recorded tables (experiments/<study>/results.csv) read and made tidy, and the
reading of what runs left.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pandas

from loupe.errors import UserError
from loupe.evaluation.journal import read_parquet
from loupe.metrics.intervals import Estimate, without_ends
from loupe.metrics.summary import paired
from loupe.paths import PROJECT

RECORDED = PROJECT / "experiments"


def results(study: str, name: str = "results") -> pandas.DataFrame:
    """A recorded table of a study; ``results`` has a row a run. Raises UserError if there is no such table."""
    path = RECORDED / study / f"{name}.csv"
    if not path.exists():
        known = ", ".join(sorted(f"{found.parent.name}/{found.stem}" for found in RECORDED.glob("*/*.csv")))
        raise UserError(f"no recorded table {study}/{name}; there are {known}")
    return pandas.read_csv(path)


def by_part(table: pandas.DataFrame, asked: str) -> pandas.DataFrame:
    """A row for each run and part of the questions: ``part`` (all, and each subset), ``score`` with the ``low`` and
    ``high`` of its 95% interval, and ``zoom_rate``, behind the columns that say which run it is.

    table: of trainings or of evaluations. asked: "before" or "after" training, or the condition of an evaluation. Runs
    that were not asked so are left out. Raises UserError if none was, or if the table is not a sweep's.
    """
    pattern = re.compile(rf"{re.escape(asked)}/score(?:_(?P<subset>\w+))?|parts/(?P<part>\w+)/score/{re.escape(asked)}")
    found = {column: match for column in without_ends(table) if (match := pattern.fullmatch(column))}
    if missing := [name for name in ("command", *(f"{column}_low" for column in found)) if name not in table]:
        raise UserError(
            f"no column {missing[0]}: this table is not one that a sweep writes now; run the sweep once more"
        )
    run = table[list(table.columns[: table.columns.get_loc("command") + 1])]
    parts = []
    for column, match in found.items():
        figures = {name: table[f"{column}{end}"] for name, end in (("score", ""), ("low", "_low"), ("high", "_high"))}
        part = match["part"] or match["subset"] or "all"
        parts.append(run.assign(part=part, **figures, zoom_rate=table[column.replace("score", "zoom_rate")]))
    tidy = pandas.concat(parts).dropna(subset="score") if parts else pandas.DataFrame()
    if tidy.empty:
        raise UserError(f"no {asked}/score and no score/{asked} in this table")
    return tidy.reset_index(drop=True)


def over_seeds(tidy: pandas.DataFrame, by: list[str]) -> pandas.DataFrame:
    """Means over the runs that are alike in ``by``, the number of ``runs``, ``least`` and ``most`` of their scores.

    ``low`` and ``high`` are the mean ends of the single runs' intervals: how well one run's score is known, not how
    much runs differ.
    """
    groups = tidy.groupby(by, dropna=False, sort=False)
    means = groups[["score", "low", "high", "zoom_rate"]].mean()
    extremes = groups["score"].agg(runs="size", least="min", most="max")
    return means.join(extremes).reset_index()


def told(row: pandas.Series) -> str:
    """A score as tables tell it: mean over seeds, and the interval of a single run."""
    return f"{row.score:.2f} [{row.low:.2f}, {row.high:.2f}]"


def figures(path: Path) -> dict:
    """A file of JSON."""
    return json.loads(path.read_text())


def greedy(folder: Path) -> list[dict]:
    """The greedy answers of an evaluation."""
    return [row for row in read_parquet(folder / "answers.parquet") if row["condition"] == "greedy"]


def gain(before: list[dict], after: list[dict], score: str = "score") -> Estimate:
    """What a score rose by, question by question, with its 95% interval."""
    return paired(before, after, lambda one, other: other - one, metric=score)


def gains(before: list[dict], after: list[dict]) -> dict[str, Estimate]:
    """:func:`gain` on all questions and on each subset of them."""
    subsets = sorted({row["subset"] for row in after if row["subset"]})
    of = {"all": after} | {name: [row for row in after if row["subset"] == name] for name in subsets}
    return {part: gain(before, rows) for part, rows in of.items()}


def ends(name: str, estimate: Estimate) -> dict[str, float]:
    """The columns of an interval."""
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def made_from(run: Path) -> dict:
    """The commit of a run and the seconds that its training took."""
    return {
        "commit": figures(run / "provenance.json")["commit"][:7],
        "seconds": figures(run / "summary.json")["seconds"],
    }


def judged_runs(out: Path) -> list[Path]:
    """The bases that were judged, then the runs that were."""
    bases = sorted(path.parent for path in out.glob("base*/evaluation.json"))
    return [*bases, *sorted(path.parents[1] for path in out.glob("*/judged/evaluation.json"))]


def write(rows: list[dict], path: Path) -> None:
    """Write a table, figures to four places."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(_rounded(row, 4) for row in rows)


def record(rows: list[dict], path: Path) -> None:
    """Write a row a run, and print them."""
    write(rows, path)
    for row in rows:
        print(_rounded(row, 3))


def _rounded(row: dict, places: int) -> dict:
    return {key: round(value, places) if isinstance(value, float) else value for key, value in row.items()}
