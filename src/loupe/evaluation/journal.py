"""The answers of an evaluation: each is on disk as soon as it is given, so that an interrupted evaluation resumes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow
from pyarrow import parquet

from loupe.atomic import replacing
from loupe.logs.rows import keep_rows
from loupe.metrics.rows import TERM
from loupe.runs.files import ANSWERS

TEXT, NUMBER, WHOLE, FLAG = pyarrow.string(), pyarrow.float64(), pyarrow.int64(), pyarrow.bool_()
POINTS = pyarrow.list_(pyarrow.list_(NUMBER))
COLUMNS = {
    **dict.fromkeys(("condition", "id", "subset", "cycle", "cluster", "question"), TEXT),
    **{"references": pyarrow.list_(TEXT), "options": pyarrow.list_(TEXT), "sample": WHOLE},
    **dict.fromkeys(("type", "stop", "answer", "chosen"), TEXT),
    **{"box": pyarrow.list_(NUMBER), "box_error": TEXT, "iou": NUMBER},
    **{"answered": FLAG, "score": NUMBER, "score_leave_one_out": NUMBER, "reward": NUMBER},
    **{"turns": pyarrow.list_(TEXT), "forced": TEXT},
    **dict.fromkeys(("calls", "tools", "told"), pyarrow.list_(TEXT)),
    **{"keypoints": POINTS, "crops": POINTS},
    **{"hits": pyarrow.list_(FLAG), "n_sampled": WHOLE, "image_tokens": WHOLE, "pixels": WHOLE},
    **{"picture": TEXT, "size": pyarrow.list_(WHOLE), "shown": pyarrow.list_(TEXT), "targets": POINTS},
}
"""Of answers.parquet, followed by a column term/<name> for each reward term (``rows.answer_row``)."""


@dataclass(frozen=True)
class Outcome:
    """The answers to one question, given by its index in the split, under one condition.

    rows: an ``answer_row`` for each sample; empty if the question could not be read, and ``skipped`` says why.
    """

    condition: str
    number: int
    rows: list[dict]
    skipped: str | None = None


class Journal:
    """The outcomes of one evaluation, one line each in ``answers.jsonl``."""

    def __init__(self, folder: Path):
        self.path = folder / ANSWERS
        self.outcomes: list[Outcome] = []

    def read(self) -> None:
        """Load the outcomes of an interrupted evaluation, but those of questions that could not be read."""
        if self.path.exists():
            self.outcomes = [Outcome(**row) for row in keep_rows(self.path, lambda row: not row["skipped"])]

    def add(self, outcomes: Iterable[Outcome]) -> None:
        with self.path.open("a") as file:
            for outcome in outcomes:
                self.outcomes.append(outcome)
                file.write(json.dumps(asdict(outcome), allow_nan=False) + "\n")

    def missing(self, condition: str, n: int) -> list[int]:
        """The indices below ``n`` of the questions without an outcome under this condition."""
        done = {outcome.number for outcome in self.outcomes if outcome.condition == condition}
        return [number for number in range(n) if number not in done]

    def rows(self, conditions: list[str]) -> list[dict]:
        """Every answer under these conditions, ordered by condition, then by question."""
        ordered = sorted(self.outcomes, key=lambda outcome: outcome.number)
        return [row for name in conditions for outcome in ordered if outcome.condition == name for row in outcome.rows]

    @property
    def skipped(self) -> list[str]:
        """Why questions were skipped, each reason once."""
        return sorted({outcome.skipped for outcome in self.outcomes if outcome.skipped})


def write_parquet(rows: list[dict], path: Path) -> None:
    names = dict.fromkeys(key for row in rows for key in row if key.startswith(TERM))
    schema = pyarrow.schema([*COLUMNS.items(), *((name, NUMBER) for name in names)])
    with replacing(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), partial)


def read_parquet(path: Path) -> list[dict]:
    """The rows that :func:`write_parquet` wrote."""
    return parquet.read_table(path).to_pylist()
