"""Referring expressions: which box does "the man in red" mean? RefCOCO and RefCOCO+ (arXiv 1608.00272) and RefCOCOg
(arXiv 1511.02283), on pictures of COCO.

Evaluation uses the hub's parquet (``lmms-lab/RefCOCO``, ``RefCOCOplus``: val, testA, testB; ``RefCOCOg``: val, test),
whose boxes are x, y, width, height and whose rows hold several expressions for one box. Training uses the json of
VLM-R1 (arXiv 2504.07615), whose boxes are x1, y1, x2, y2. Both are in pixels of the original picture.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import datasets
from torch.utils.data import Dataset

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.tables import Rows, has_text, is_text
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
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    **settings: Any,
) -> LoupeDataModule:
    """Validation and test splits from the parquet; a training split from VLM-R1's json, if there is one.

    path: a folder with the parquet files and possibly the json; None for the hub. dataset: "refcoco", "refcocoplus" or
    "refcocog". train: VLM-R1's json or jsonl, if it is not in ``path``. images: the folder that the json's picture
    paths are relative to, if it is not the json's own. question: a template with ``{expression}``.
    mined, mix, hard_fraction: see ``mixing.mixed``. settings: see :class:`LoupeDataModule`.
    """
    require_choice("data.dataset", dataset, HUBS)
    if not isinstance(question, str) or "{expression}" not in question:
        raise UserError(f"data.question={question!r}: must contain {{expression}}")
    training = None
    if file := _train_file(path, dataset, train):
        rows = _training(file, Path(images) if images else file.parent, question)
        ids = [f"{file.stem}/{number}" for number in rows.indices]
        training = tables.take(mixed(rows, ids, mined, mix, hard_fraction, seed), n_train, "data.n_train")
    val, test = (
        tables.take(Expressions(_open(path, dataset, split), f"{dataset}/{split}", question), n, name)
        for split, n, name in ((val_split, n_val, "data.n_val"), (test_split, n_test, "data.n_test"))
    )
    return LoupeDataModule(training, val, test, seed=seed, **settings)


class Expressions(Dataset[Example]):
    """One question per expression in the usable rows of a published split. Empty expressions are left out."""

    def __init__(self, table: datasets.Dataset, name: str, question: str) -> None:
        rows = tables.usable_rows(table, name, COLUMNS, bbox=_has_size, answer=_has_expression)
        expressions = table.with_format(None)["answer"]
        self.pairs = [
            (row, number) for row in rows for number, expression in enumerate(expressions[row]) if has_text(expression)
        ]
        self.table, self.name, self.question = table, name, question

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        row_number, number = self.pairs[index]
        row = self.table[row_number]
        cluster = f"{self.name}/{row['question_id']}"
        picture, expression = tables.stored_picture(row["image"]), row["answer"][number]
        x, y, width, height = row["bbox"]
        box = (x, y, x + width, y + height)
        return _example(f"{cluster}/{number}", picture, self.question, expression, box, cluster)


def _example(
    name: str, picture: Path | bytes, question: str, expression: str, box: Box, cluster: str | None = None
) -> Example:
    question = question.replace("{expression}", expression.strip())  # other braces in the template stay as they are
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
    name = TRAIN_FILES[dataset]
    own = [file for file in files if file.stem == name]
    if len(files) > 1 and not own:
        raise UserError(f"data.path={path}: none of its training files is {name}; give data.train=<file>")
    return next(iter(own or files), None)


def _training(file: Path, images: Path, question: str) -> Rows:
    """VLM-R1's rows, in either of its formats."""
    records = [_record(entry) | {"id": number} for number, entry in enumerate(_entries(file))]
    table = datasets.Dataset.from_list(records)

    def has_picture(name: str | None) -> bool:
        # Path.is_file raises an error if a name is too long
        return name is not None and os.path.isfile(images / name)

    def read(row: dict) -> Example:
        name, picture = f"{file.stem}/{row['id']}", images / row["image"]
        return _example(name, picture, question, row["expression"], tuple(row["box"]))

    rows = tables.usable_rows(table, str(file), (), image=has_picture, expression=has_text, box=_is_box)
    return Rows(table, read, rows)


def _entries(file: Path) -> list:
    """The entries of a json or jsonl file; None for a line of a jsonl file that cannot be read."""
    with tables.required_format(file, "VLM-R1's format"):
        text = file.read_text()
        entries = json.loads(text) if file.suffix == ".json" else [_line(line) for line in text.splitlines()]
    if not entries or not isinstance(entries, list):
        raise UserError(f"{file}: not a list of rows, or an empty one; copy it again")
    return entries


def _line(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _record(entry: object) -> dict:
    """Picture, expression and box of an entry, which has a problem and a solution or conversations; None if missing."""
    entry = entry if isinstance(entry, dict) else {}
    image, problem, box, turns = (entry.get(key) for key in ("image", "problem", "solution", "conversations"))
    if isinstance(turns, list) and len(turns) >= 2 and all(isinstance(turn, dict) for turn in turns[:2]):
        problem, box = (turn.get("value") for turn in turns[:2])
    if isinstance(box, str):
        box = next(iter(complete_boxes(box)), None)
    return {
        "image": image if is_text(image) else None,
        "expression": PREAMBLE.sub("", problem.replace(IMAGE_MARK, "")) if is_text(problem) else None,
        "box": list(map(float, box)) if _is_four_numbers(box) else None,
    }


def _is_four_numbers(numbers: object) -> TypeGuard[Sequence[float]]:
    return isinstance(numbers, list | tuple) and len(numbers) == 4 and all(map(is_number, numbers))


def _has_size(bbox: object) -> bool:
    return _is_four_numbers(bbox) and min(bbox[2:]) > 0


def _has_expression(answer: object) -> bool:
    return isinstance(answer, list) and any(map(has_text, answer))


def _is_box(box: object) -> bool:
    return _is_four_numbers(box) and box[0] < box[2] and box[1] < box[3]
