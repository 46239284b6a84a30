"""Every answer as a row, on disk as soon as it is given: what figures are counted from, and what an interrupted
evaluation goes on from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow
from pyarrow import parquet

from loupe.logs.jsonl import keep_rows
from loupe.metrics.training import hits
from loupe.records import Group, Trajectory
from loupe.rewards import terms
from loupe.rewards.boxes import BoxError, answer_iou, read_box
from loupe.rewards.choice import LETTERS, chosen_option

TEXT, NUMBER, WHOLE, FLAG = pyarrow.string(), pyarrow.float64(), pyarrow.int64(), pyarrow.bool_()
POINTS = pyarrow.list_(pyarrow.list_(NUMBER))
COLUMNS = {
    **dict.fromkeys(("condition", "id", "subset", "cycle", "cluster", "question"), TEXT),
    **{"references": pyarrow.list_(TEXT), "options": pyarrow.list_(TEXT), "sample": WHOLE},
    **dict.fromkeys(("type", "stop", "answer", "chosen"), TEXT),
    **{"box": pyarrow.list_(NUMBER), "box_error": TEXT, "iou": NUMBER},
    **{"answered": FLAG, "score": NUMBER, "score_leave_one_out": NUMBER, "reward": NUMBER},
    **{"turns": pyarrow.list_(TEXT), "calls": pyarrow.list_(TEXT), "keypoints": POINTS, "crops": POINTS},
    **{"hits": pyarrow.list_(FLAG), "n_sampled": WHOLE, "image_tokens": WHOLE, "pixels": WHOLE},
}
"""Of answers.parquet; a column term/<name> for each reward term follows."""
TERM = "term/"


def answer_row(condition: str, trajectory: Trajectory, group: Group, factor: int, merge: int) -> dict:
    """One answer, as answers.parquet holds it.

    chosen: the letter of the option that the answer names. box: the answered one, where one is asked for, original
    pixels; box_error: or why it is none. answered: whether there is an answer, and one of the kind asked for. score:
    ``terms.hard``; score_leave_one_out: the published form of VQA accuracy, where there are several references. calls:
    "ok" or the kind of failure. keypoints, crops: of the executed calls, original pixels; hits: whether each shows a
    target, null where no target is known or the crops are another picture's. image_tokens, pixels: of all pictures
    shown, ``factor`` squared pixels a token. reward, and what it is made of: as at the first step of training.
    """
    example, answer = group.example, trajectory.answer
    number = chosen_option(answer, example.options) if answer and example.options else None
    executed = [event for event in trajectory.events if event.box]
    tokens = sum(image.tokens(merge) for image in [*group.prompt.images, *trajectory.images])
    several = len(example.references) > 1 and not example.options
    box = read_box(answer, trajectory.frame) if example.answer_box else None
    is_none = isinstance(box, BoxError)
    return {
        "condition": condition,
        "id": example.id,
        "subset": example.subset,
        "cycle": example.cycle,
        "cluster": example.cluster,
        "question": example.question,
        "references": list(example.references),
        "options": list(example.options),
        "sample": trajectory.sample,
        "type": trajectory.type,
        "stop": trajectory.stop,
        "answer": answer,
        "chosen": None if number is None else LETTERS[number],
        "box": None if is_none else box,
        "box_error": box if is_none else None,
        "iou": answer_iou(trajectory, example) if example.answer_box else None,
        "answered": bool(answer) and not is_none and (not example.options or number is not None),
        "score": terms.hard(trajectory, example),
        "score_leave_one_out": terms.hard_leave_one_out(trajectory, example) if several else None,
        "reward": trajectory.reward,
        "turns": trajectory.turns,
        "calls": [event.status for event in trajectory.events],
        "keypoints": [event.keypoint for event in executed],
        "crops": [event.box for event in executed],
        "hits": hits(trajectory, example) if example.target_boxes and not example.zoom_image else None,
        "n_sampled": trajectory.n_sampled,
        "image_tokens": tokens,
        "pixels": tokens * factor**2,
    } | {f"{TERM}{name}": value for name, value in trajectory.terms.items()}


@dataclass(frozen=True)
class Outcome:
    """What came of one question (its number in the split) under one condition.

    rows: an :func:`answer_row` for each sample; none if the question could not be read, and ``skipped`` says why.
    """

    condition: str
    number: int
    rows: list[dict]
    skipped: str | None = None


class Journal:
    """The outcomes of one evaluation, a line each in ``answers.jsonl``."""

    def __init__(self, folder: Path):
        self.path = folder / "answers.jsonl"
        self.outcomes: list[Outcome] = []

    def read(self) -> None:
        """Take up what is there: not a last line that was never completed, nor questions that could not be read, which
        are asked again.
        """
        if self.path.exists():
            self.outcomes = [Outcome(**row) for row in keep_rows(self.path, lambda row: not row["skipped"])]

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes down."""
        with self.path.open("a") as file:
            for outcome in outcomes:
                self.outcomes.append(outcome)
                file.write(json.dumps(asdict(outcome), allow_nan=False) + "\n")

    def missing(self, condition: str, n: int) -> list[int]:
        """The numbers of the questions, of ``n``, that have no outcome under this condition yet."""
        done = {outcome.number for outcome in self.outcomes if outcome.condition == condition}
        return [number for number in range(n) if number not in done]

    def rows(self, conditions: list[str]) -> list[dict]:
        """Every answer under these conditions, in their order and that of the questions."""
        ordered = sorted(self.outcomes, key=lambda outcome: outcome.number)
        return [row for name in conditions for outcome in ordered if outcome.condition == name for row in outcome.rows]

    @property
    def skipped(self) -> list[str]:
        """Why questions could not be asked, each reason once."""
        return sorted({outcome.skipped for outcome in self.outcomes if outcome.skipped})


def write_parquet(rows: list[dict], path: Path) -> None:
    """The rows as a table with ``COLUMNS`` and a column for each reward term."""
    names = dict.fromkeys(key for row in rows for key in row if key.startswith(TERM))
    schema = pyarrow.schema([*COLUMNS.items(), *((name, NUMBER) for name in names)])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path)


def read_parquet(path: Path) -> list[dict]:
    """The rows of :func:`write_parquet`."""
    return parquet.read_table(path).to_pylist()
