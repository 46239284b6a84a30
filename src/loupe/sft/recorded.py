"""Traces from the answers of an earlier job: a training run, an evaluation or a mining.

Only the texts of the turns are taken from its rows. The question with its picture is found again in ``data`` by its id,
and the calls are executed again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeGuard

from loupe.data.datamodule import LoupeDataModule, Questions
from loupe.errors import UserError, is_number, require_choice, require_int, require_number
from loupe.evaluation.conditions import SPLITS
from loupe.evaluation.journal import read_parquet
from loupe.logs.rows import TRAJECTORIES, read_rows
from loupe.records import Example, StopReason
from loupe.runs.files import ANSWERS
from loupe.sft.traces import Trace, picture_name

LOG = logging.getLogger(__name__)
PARQUET = "answers.parquet"
TEXTS, LISTS = ("id", "question", "condition", "stop"), ("turns", "calls")


@dataclass(frozen=True)
class Choice:
    """Which answers are taken.

    min_score: the lowest score; None for any. per_question: at most so many of each question, the best ones first; None
    for all. splits: of ``data``, those whose questions may be learned from. conditions: how the questions were asked.
    """

    min_score: float | None
    per_question: int | None
    splits: Sequence[str]
    conditions: Sequence[str]

    def __post_init__(self) -> None:
        if self.min_score is not None:
            require_number("min_score", self.min_score, 0, 1)
        if self.per_question is not None:
            require_int("per_question", self.per_question, 1)
        for name in ("splits", "conditions"):
            if not isinstance(value := getattr(self, name), list) or not value:
                raise UserError(f"{name}={value}: must be a list of names, in brackets")
        for split in self.splits:
            require_choice("splits", split, SPLITS)

    def reason_against(self, row: object) -> str | None:
        """Why a row is left out, whatever its question; None if it is not."""
        if not _is_answer(row):
            return "in another form than that of docs/files.md"
        if row["condition"] not in self.conditions:
            return f"given under other conditions (conditions={_listed(self.conditions)})"
        if row["stop"] == StopReason.OUT_OF_TOKENS:
            return "cut short"
        if row.get("forced") and row.get("split") == "train":
            return "begun with a tag that was not the policy's own (rollout.balance)"
        if self.min_score is not None and row["score"] < self.min_score:
            return f"below min_score={self.min_score}"
        return None


def answer_files(path: Path) -> list[Path]:
    """The files with the answers of a job, given by its folder or as one of them; several if it ran in shards."""
    if path.is_file():
        return [path] if path.name in (TRAJECTORIES, ANSWERS, PARQUET) else []
    if (path / TRAJECTORIES).is_file():
        return [path / TRAJECTORIES]
    return sorted(path.rglob(ANSWERS)) or sorted(path.rglob(PARQUET))


def read_answers(file: Path) -> list[dict]:
    """The rows (``metrics.rows.answer_row``) in one of these files."""
    if file.name == PARQUET:
        return read_parquet(file)
    rows = read_rows(file)
    return [row for outcome in rows for row in outcome.get("rows", [])] if file.name == ANSWERS else rows


def choose(rows: Iterable[dict], data: LoupeDataModule, choice: Choice) -> list[Trace]:
    """The answers to learn from, the best ones first; what is left out is counted in the log.

    Raises UserError if nothing is left.
    """
    left_out: Counter[str] = Counter()
    wanted = []
    for row in rows:
        if reason := choice.reason_against(row):
            left_out[reason] += 1
        else:
            wanted.append(row)
    places = locate(data, {row["id"] for row in wanted})
    asked = {name: question(data, *place) for name, place in places.items() if place[0] in choice.splits}
    traces: list[Trace] = []
    taken: Counter[str] = Counter()
    for row in sorted(wanted, key=lambda row: -row["score"]):
        name = row["id"]
        if name not in places:
            left_out["to questions that data does not have"] += 1
        elif name not in asked:
            left_out[f"to questions of the {places[name][0]} split (splits={_listed(choice.splits)})"] += 1
        elif asked[name].text != row["question"]:
            left_out["to other questions of the same id; repeat the data settings of that job"] += 1
        elif taken[name] == choice.per_question:
            left_out[f"beyond per_question={choice.per_question}"] += 1
        else:
            taken[name] += 1
            traces.append(trace(row, asked[name]))
    for reason, n in left_out.items():
        LOG.warning("answers left out: %d %s", n, reason)
    if not traces:
        raise UserError("traces: none of the answers is left to learn from; see above for what was left out and why")
    return traces


def locate(data: LoupeDataModule, wanted: set[str]) -> dict[str, tuple[str, int]]:
    """The split and the index of each of these questions that ``data`` has, by id."""
    found: dict[str, tuple[str, int]] = {}
    for split in SPLITS:
        if (questions := getattr(data, split)) is not None and len(found) < len(wanted):
            for index, name in enumerate(ids(questions)):
                if name in wanted:
                    found.setdefault(name, (split, index))
    return found


def ids(questions: Questions) -> Iterable[str]:
    """The id of each question, without opening pictures."""
    known = getattr(questions, "ids", None)
    return known if known is not None else (questions[index].id for index in range(len(questions)))


@dataclass(frozen=True)
class Asked:
    """A question of ``data``.

    example: makes it again. picture: names its pictures. answered: whether it has a reference answer.
    """

    example: Callable[[], Example]
    text: str
    picture: str
    answered: bool = True


def question(data: LoupeDataModule, split: str, index: int) -> Asked:
    """The question at ``index`` of a split."""
    make = partial(getattr(data, split).__getitem__, index)
    example = make()
    answered = bool(example.references or example.answer_box)
    return Asked(make, example.question, picture_name(example), answered)


def trace(row: dict, asked: Asked) -> Trace:
    """An answer as a trace."""
    name, turns, calls = f"{row['id']} (sample {row.get('sample')})", tuple(row["turns"]), tuple(row["calls"])
    return Trace(name, asked.example, row["id"], asked.picture, turns, calls=calls)


def _listed(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"


def _is_answer(row: object) -> TypeGuard[dict]:
    if not isinstance(row, dict):
        return False
    texts = [row.get(key) for key in TEXTS]
    texts += [text for key in LISTS for text in (row[key] if isinstance(row.get(key), list) else [None])]
    return all(isinstance(text, str) for text in texts) and bool(row["turns"]) and is_number(row.get("score"))
