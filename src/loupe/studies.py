"""What the scripts in experiments/ share: reading what runs left, and writing a study's results.csv."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from loupe.evaluation.answers import read_parquet


def lines(path: Path) -> list[dict]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(path: Path) -> dict:
    """A file of JSON."""
    return json.loads(path.read_text())


def greedy(folder: Path) -> list[dict]:
    """The greedy answers of an evaluation."""
    return [row for row in read_parquet(folder / "answers.parquet") if row["condition"] == "greedy"]


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
