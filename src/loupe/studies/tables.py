"""Tables of studies, recorded ones (experiments/<study>/results.csv) or of a user's own sweep, read and made tidy."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import pandas

from loupe.errors import UserError
from loupe.paths import PROJECT
from loupe.runs.sweeps import SETTING

RECORDED = PROJECT / "experiments"
RUN = ("job", "commit", "command")  # the columns that, with the settings, say which run a row is about
ZERO = r"^0(?:\.0*)?$"
"""What :func:`named_by` reads as a setting of 0."""
PRESET = {"rollout.balance": "1", "rollout.learn_forced": "winning"}
"""The settings of ``rollout=balanced``."""
Methods = Mapping[str, Mapping[str, str]]
"""The names of runs, and the settings that make them, as :func:`named_by` reads them."""
BALANCED = {
    ", all learned": {"rollout.learn_forced": "(?i)true"},
    ", balanced": {"rollout.learn_forced": "winning"},
    ", benefit and balanced": {"rollout.learn_forced": "winning", "reward": "tool_by_benefit"},
}
"""What ends the name of a condition with balanced groups, as :func:`named_by` reads it."""


def results(study: str, name: str = "results") -> pandas.DataFrame:
    """A table of a study; ``results`` has one row per run.

    study: a recorded one, or the folder of a sweep, such as ``outputs/mine``. Raises UserError if it has no such table.
    """
    for folder in (RECORDED / study, PROJECT / study):
        if (path := folder / f"{name}.csv").exists():
            return pandas.read_csv(path, dtype={"job": str})
    known = ", ".join(sorted(f"{found.parent.name}/{found.stem}" for found in RECORDED.glob("*/*.csv")))
    raise UserError(f"{study}: no {name}.csv in this folder, and no recorded table of this name; there are {known}")


def part_keys(table: pandas.DataFrame, metric: str) -> dict[str, str]:
    """The columns of a metric (``score``, ``after/score``) by part of the questions, without the ends of intervals."""
    keys = [key for key in map(str, table) if key.rpartition("/")[0] == metric]
    return {key.rpartition("/")[2]: key for key in keys}


def by_part(table: pandas.DataFrame, condition: str) -> pandas.DataFrame:
    """One row per run and part of the questions (all, and each subset).

    Columns: those that identify the run, its settings without their prefix; ``part``, ``score`` with the ``low`` and
    ``high`` end of its 95% interval, and ``zoom_rate``.

    table: of trainings or evaluations. condition: "before" or "after" training, or a condition of the evaluations. Runs
    without scores under it are left out. Raises UserError if that leaves none, or if no sweep wrote the table.
    """
    columns = list(map(str, table))
    keys = part_keys(table, f"{condition}/score")
    if missing := [name for name in ("command", *(f"{key}/low" for key in keys.values())) if name not in columns]:
        raise UserError(f"no column {missing[0]}: this is not a table that a sweep writes now; run the sweep again")
    settings = {column: column.removeprefix(SETTING) for column in columns if column.startswith(SETTING)}
    run = table[[column for column in columns if column in RUN or column in settings]].rename(columns=settings)
    parts = []
    for part, key in keys.items():
        ends = {"low": table[f"{key}/low"], "high": table[f"{key}/high"]}
        parts.append(run.assign(part=part, score=table[key], **ends, zoom_rate=table[f"{condition}/zoom_rate/{part}"]))
    tidy = pandas.concat(parts).dropna(subset="score") if parts else pandas.DataFrame()
    if tidy.empty:
        raise UserError(f"no {condition}/score in this table")
    return tidy.reset_index(drop=True)


def over_seeds(tidy: pandas.DataFrame, by: list[str]) -> pandas.DataFrame:
    """Means over the runs that agree in ``by``, the number of ``runs``, and the ``least`` and ``most`` of their scores.

    ``low`` and ``high`` are the mean ends of the single runs' intervals: how precisely one run's score is known, not
    how much runs differ.
    """
    groups = tidy.groupby(by, dropna=False, sort=False)
    means = groups[["score", "low", "high", "zoom_rate"]].mean()
    extremes = groups["score"].agg(runs="size", least="min", most="max")
    return means.join(extremes).reset_index()


def score_text(row: pandas.Series) -> str:
    """A score with its interval, as the tables print it: ``0.86 [0.84, 0.89]``."""
    return f"{row.score:.2f} [{row.low:.2f}, {row.high:.2f}]"


def rank(names: pandas.Series, order: Sequence[str]) -> pandas.Series:
    """The place of each name in ``order``; those that it lacks come last, sorted."""
    return names.map([*order, *sorted(set(names) - set(order))].index)


def ordered(table: pandas.DataFrame, places: pandas.Series) -> pandas.DataFrame:
    """The rows by their ``places``; those of the same place stay in their order."""
    return table.iloc[places.to_numpy().argsort(kind="stable")]


def by_method(found: pandas.DataFrame, methods: Sequence[str]) -> pandas.DataFrame:
    """The rows by their ``method``, in the order of ``methods``, those of each by ``seed``."""
    by_seed = found.sort_values("seed", kind="stable")
    return ordered(by_seed, rank(by_seed.method, methods))


def with_preset(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows, with the single settings of those that have ``rollout=balanced``."""
    if f"{SETTING}rollout" not in table:
        return table
    chosen = table[f"{SETTING}rollout"] == "balanced"
    keys = {f"{SETTING}{key}": value for key, value in PRESET.items()}
    found = table.reindex(columns=[*table, *(key for key in keys if key not in table)]).astype(
        dict.fromkeys(keys, object)
    )
    return found.assign(**{key: found[key].mask(chosen, value) for key, value in keys.items()})


def named_by(table: pandas.DataFrame, otherwise: str, made_by: Methods) -> pandas.Series:
    """The name of each row by the settings that make it, also through a preset; later names take precedence.

    made_by: by name, the settings and what the value of each has in it (a regular expression; ``.``: any value).
    """
    names, table = pandas.Series(otherwise, table.index), with_preset(table)
    for name, settings in made_by.items():
        values = table.reindex(columns=[f"{SETTING}{setting}" for setting in settings]).astype(object).fillna("")
        held = [values[f"{SETTING}{setting}"].astype(str).str.contains(like) for setting, like in settings.items()]
        names[pandas.concat(held, axis=1).all(axis=1)] = name
    return names


def policies(evaluations: pandas.DataFrame, jobs: pandas.DataFrame, base: str, methods: Methods) -> pandas.DataFrame:
    """The ``method`` and ``seed`` by which the policy of each evaluation was trained.

    jobs: the table with the trainings; models that none of them made count as the ``base``. methods: how
    :func:`named_by` names them.
    """
    trained = jobs[["job", f"{SETTING}seed"]].assign(method=named_by(jobs, base, methods)).set_index("job")
    made_by = [PurePath(path).parent.name for path in evaluations[f"{SETTING}model.path"].fillna("").astype(str)]
    found = trained.reindex(made_by).set_axis(["seed", "method"], axis=1).fillna({"method": base})
    return found.set_axis(evaluations.index)


def seed_scores(table: pandas.DataFrame, conditions: Mapping[str, str]) -> pandas.DataFrame:
    """The scores of ``seeds.csv`` (``studies.gains.seed_rows``) by part as text, and the number of ``runs``.

    conditions: the columns of ``table`` that say which condition a row is about, by the names that they get.
    """
    texts = {
        part: table[[key, f"{key}/low", f"{key}/high"]]
        .set_axis(["score", "low", "high"], axis=1)
        .apply(score_text, axis=1)
        for part, key in part_keys(table, "score").items()
    }
    return pandas.DataFrame({name: table[key] for name, key in conditions.items()} | {"runs": table.runs} | texts)


def write(rows: list[dict], path: Path) -> None:
    """Write a table as csv, numbers to four decimal places."""
    pandas.DataFrame(rows).round(4).to_csv(path, index=False)


def write_tables(tables: Mapping[str, Callable[[Path], list[dict]]], example: str) -> None:
    """The command of a script that makes ``tables`` of a sweep, whose folder is its only argument, in that folder.

    example: such a folder, for the message of a command without one.
    """
    if len(sys.argv) != 2:
        sys.exit(f"error: name the folder of a sweep, such as {example}")
    folder = Path(sys.argv[1])
    try:
        for name, make in tables.items():
            rows = make(folder)
            write(rows, folder / f"{name}.csv")
            print(f"{folder / name}.csv: {len(rows)} rows")
    except UserError as error:
        sys.exit(f"error: {error}")
