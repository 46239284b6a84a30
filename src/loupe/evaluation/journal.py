"""The answers of an evaluation: each is on disk as soon as it is given, so that an interrupted evaluation resumes."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import pyarrow
from pyarrow import parquet

from loupe.atomic import replacing
from loupe.data.datamodule import Questions
from loupe.errors import UserError
from loupe.geometry import Box
from loupe.logs.rows import read_rows
from loupe.metrics.rows import TERM
from loupe.records import Example
from loupe.runs.files import ANSWERS

LOG = logging.getLogger(__name__)
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
    digest: of the question (:func:`digest`), because the index names another one once the data change.
    """

    condition: str
    number: int
    rows: list[dict]
    skipped: str | None = None
    digest: str | None = None

    def about(self) -> str:
        """``digest``; in a journal that holds none, that of the question as the rows state it."""
        row = self.rows[0]
        return self.digest or _digest(row["id"], row["question"], row["references"], row["options"], None)


def digest(example: Example) -> str:
    """Changes with whatever a question and the score of its answers depend on, except for the picture."""
    return _digest(example.id, example.question, example.references, example.options, example.answer_box)


def _digest(name: str, question: str, references: Sequence[str], options: Sequence[str], box: Box | None) -> str:
    content = [name, question, list(references), list(options), box and list(map(float, box))]
    return sha256(json.dumps(content).encode()).hexdigest()[:16]


class Journal:
    """The outcomes of one evaluation, one line each in ``answers.jsonl``."""

    def __init__(self, folder: Path):
        self.path = folder / ANSWERS
        self.outcomes: list[Outcome] = []

    def read(self, examples: Questions) -> None:
        """Load the outcomes of an interrupted evaluation, but those of questions that could not be read.

        An outcome belongs to the question among ``examples`` that it answers, whatever its index is now. Those to
        other questions are dropped, with a warning. Raises UserError if there are no others.
        """
        if not self.path.exists():
            return
        found = [Outcome(**row) for row in read_rows(self.path) if not row["skipped"]]
        self.outcomes = _placed(found, examples)
        if lost := len(found) - len(self.outcomes):
            what = f"{self.path}: {lost} of its {len(found)} lines answer none of the present questions, or one again"
            if not self.outcomes:
                raise UserError(f"{what}; choose another paths.output_dir, or delete this one")
            LOG.warning("%s: the data have changed since; these answers are dropped", what)
        with replacing(self.path) as partial:
            partial.write_text("".join(map(_line, self.outcomes)))

    def add(self, outcomes: Iterable[Outcome]) -> None:
        with self.path.open("a") as file:
            for outcome in outcomes:
                self.outcomes.append(outcome)
                file.write(_line(outcome))

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


def _placed(outcomes: list[Outcome], examples: Questions) -> list[Outcome]:
    """The outcomes to questions among ``examples``, with their present indices; one per condition and question.

    As long as the data are the same, only questions that have been answered are read.
    """
    digest_at = cache(lambda number: digest(examples[number]) if number < len(examples) else None)
    moved = {outcome.about() for outcome in outcomes if digest_at(outcome.number) != outcome.about()}
    now = {digest_at(number): number for number in reversed(range(len(examples)))} if moved else {}
    placed: dict[tuple[str, int], Outcome] = {}
    for outcome in outcomes:
        about = outcome.about()
        number = outcome.number if digest_at(outcome.number) == about else now.get(about)
        if number is not None:
            placed.setdefault((outcome.condition, number), replace(outcome, number=number))
    return list(placed.values())


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome), allow_nan=False) + "\n"


def write_parquet(rows: list[dict], path: Path) -> None:
    names = dict.fromkeys(key for row in rows for key in row if key.startswith(TERM))
    schema = pyarrow.schema([*COLUMNS.items(), *((name, NUMBER) for name in names)])
    with replacing(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), partial)


def read_parquet(path: Path) -> list[dict]:
    """The rows that :func:`write_parquet` wrote."""
    return parquet.read_table(path).to_pylist()
