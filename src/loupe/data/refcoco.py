"""Referring expressions: which box does "the man in red" mean? RefCOCO and RefCOCO+ (arXiv 1608.00272) and RefCOCOg
(arXiv 1511.02283), on pictures of COCO.

Evaluation uses the hub's parquet (``lmms-lab/RefCOCO``, ``RefCOCOplus``: val, testA, testB; ``RefCOCOg``: val, test),
whose boxes are x, y, width, height and whose rows hold several expressions for one box. Training uses the json of
VLM-R1 (arXiv 2504.07615), whose boxes are x1, y1, x2, y2. Both are in pixels of the original picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import datasets
from torch.utils.data import Dataset

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.tables import Rows
from loupe.errors import UserError, is_number, require_choice
from loupe.geometry import Box
from loupe.records import Example
from loupe.rewards.boxes import complete_boxes

HUBS = {"refcoco": "lmms-lab/RefCOCO", "refcocoplus": "lmms-lab/RefCOCOplus", "refcocog": "lmms-lab/RefCOCOg"}
COLUMNS = ("question_id", "image", "answer", "bbox")
TRAIN_FILES = {"refcoco": "refcoco_train", "refcocoplus": "refcocop_train", "refcocog": "refcocog_train"}
"""VLM-R1's name for the json of each data set, without the suffix."""
PREAMBLE = re.compile(r"^.*?\bdescribes?\s*:\s*", re.DOTALL)
"""The part of VLM-R1's problems before the expression."""
IMAGE_MARK = "<image>"


def refcoco_datamodule(
    path: str | None,
    dataset: str,
    train: str | None,
    images: str | None,
    question: str,
    val_split: str,
    test_split: str,
    seed: int,
    n_train: int | None,
    n_val: int | None,
    n_test: int | None,
    batch_size: int,
    eval_batch_size: int,
    num_workers: int = 0,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
) -> LoupeDataModule:
    """Validation and test splits from the parquet; a training split from VLM-R1's json, if there is one.

    path: a folder with the parquet files and possibly the json; None for the hub. dataset: "refcoco", "refcocoplus" or
    "refcocog". train: VLM-R1's json or jsonl, if it is not in ``path``. images: the folder that the json's picture
    paths are relative to, if it is not the json's own. question: a template with ``{expression}``.
    mined, mix, hard_fraction: see ``mixing.mixed``.
    """
    require_choice("data.dataset", dataset, HUBS)
    if not isinstance(question, str) or "{expression}" not in question:
        raise UserError(f"data.question={question!r}: must contain {{expression}}")
    training = None
    if file := _train_file(path, dataset, train):
        rows = _training(file, Path(images) if images else file.parent, question)
        ids = [f"{file.stem}/{number}" for number in rows.indices]
        training = tables.take(mixed(rows, ids, mined, mix, hard_fraction, seed), n_train, "data.n_train")

    def evaluated(split: str) -> Expressions:
        return Expressions(_open(path, dataset, split), f"{dataset}/{split}", question)

    return LoupeDataModule(
        train=training,
        val=tables.take(evaluated(val_split), n_val, "data.n_val"),
        test=tables.take(evaluated(test_split), n_test, "data.n_test"),
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        seed=seed,
        num_workers=num_workers,
    )


class Expressions(Dataset[Example]):
    """One question per expression in the usable rows of a published split."""

    def __init__(self, table: datasets.Dataset, name: str, question: str) -> None:
        tables.require_columns(table, name, COLUMNS)
        rows = tables.usable_rows(table, name, bbox=_has_area, answer=bool)
        expressions = table.with_format(None)["answer"]
        self.pairs = [(row, number) for row in rows for number in range(len(expressions[row]))]
        self.table = table
        self.name = name
        self.question = question

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        row_number, number = self.pairs[index]
        row = self.table[row_number]
        return _example(
            f"{self.name}/{row['question_id']}/{number}",
            tables.stored_picture(row["image"]),
            fill_in(self.question, row["answer"][number]),
            _corners(row["bbox"]),
            cluster=f"{self.name}/{row['question_id']}",
        )


def fill_in(question: str, expression: str) -> str:
    """The question about an expression; other braces in the template stay as they are."""
    return question.replace("{expression}", expression.strip())


def _example(name: str, picture: Path | bytes, question: str, box: Box, cluster: str | None = None) -> Example:
    return Example(name, picture, question, (), target_boxes=(box,), answer_box=box, cluster=cluster)


def _open(path: str | None, dataset: str, split: str) -> datasets.Dataset:
    if path is None:
        return tables.from_hub(HUBS[dataset], split)
    folders = (dataset, HUBS[dataset].rpartition("/")[2])
    files = tables.find_files(path, *(f"{name}/**/{split}-*.parquet" for name in folders), f"{split}-*.parquet")
    if len({file.parent for file in files}) > 1:
        raise UserError(f"data.path={path}: {split} is in several folders there; give the one of {dataset}")
    return tables.from_files("parquet", files)


def _train_file(path: str | None, dataset: str, train: str | None) -> Path | None:
    """VLM-R1's json: ``train``, or the one of this data set in ``path``, or None if there is none."""
    if train is not None:
        if not Path(train).is_file():
            raise UserError(f"data.train={train}: no such file; give VLM-R1's json or jsonl")
        return Path(train)
    if path is None:
        return None
    files = [file for kind in ("jsonl", "json") for file in sorted(tables.require_folder(path).rglob(f"*train.{kind}"))]
    own = [file for file in files if file.stem == TRAIN_FILES[dataset]]
    if len(files) > 1 and not own:
        raise UserError(
            f"data.path={path}: none of its training files is {TRAIN_FILES[dataset]}; give data.train=<file>"
        )
    return next(iter(own or files), None)


def _training(file: Path, images: Path, question: str) -> Rows:
    """VLM-R1's rows, in either of its formats."""
    entries = list(_entries(file))
    if not entries:
        raise UserError(f"{file}: no rows in it; copy it again")
    table = tables.from_records([_record(entry) for entry in entries])
    name = str(file)
    rows = tables.usable_rows(
        table,
        name,
        image=lambda picture: bool(picture) and (images / picture).is_file(),
        expression=lambda text: bool(text and text.strip()),
        box=_is_box,
    )

    def read(row: dict) -> Example:
        text = fill_in(question, row["expression"])
        return _example(f"{file.stem}/{row['id']}", images / row["image"], text, tuple(row["box"]))

    return Rows(table.add_column("id", list(range(len(table)))), read, rows)


def _entries(file: Path) -> Iterator[dict]:
    """The entries of a json or jsonl file; an unreadable line of a jsonl file becomes an empty entry."""
    text = file.read_text()
    if file.suffix == ".json":
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise UserError(f"{file}: not valid json ({error}); copy it again") from error
        if not isinstance(entries, list):
            raise UserError(f"{file}: not a list of rows; give VLM-R1's json")
        yield from entries
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            yield {}


def _record(entry: object) -> dict:
    """Picture, expression and box of an entry; None for whatever is missing.

    The entry has either a problem and a solution or conversations.
    """
    entry = entry if isinstance(entry, dict) else {}
    problem, solution = entry.get("problem"), entry.get("solution")
    turns = entry.get("conversations")
    if isinstance(turns, list) and len(turns) >= 2 and all(isinstance(turn, dict) for turn in turns[:2]):
        problem, solution = turns[0].get("value"), turns[1].get("value")
    box = found[0] if isinstance(solution, str) and (found := complete_boxes(solution)) else solution
    expression = PREAMBLE.sub("", problem.replace(IMAGE_MARK, "")) if isinstance(problem, str) else None
    image = entry.get("image")
    return {
        "image": image if isinstance(image, str) else None,
        "expression": expression,
        "box": [float(value) for value in box] if _is_four_numbers(box) else None,
    }


def _corners(bbox: Sequence[float]) -> Box:
    """x1, y1, x2, y2 of a published x, y, width, height."""
    x, y, width, height = bbox
    return x, y, x + width, y + height


def _has_area(bbox: object) -> bool:
    return _is_four_numbers(bbox) and bbox[2] > 0 and bbox[3] > 0


def _is_box(box: object) -> bool:
    return _is_four_numbers(box) and box[0] < box[2] and box[1] < box[3]


def _is_four_numbers(numbers: object) -> TypeGuard[Sequence[float]]:
    return isinstance(numbers, list | tuple) and len(numbers) == 4 and all(map(is_number, numbers))
