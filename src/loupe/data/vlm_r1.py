"""Referring expressions in the json of VLM-R1 (arXiv 2504.07615): its training files and its evaluation files.

Boxes are x1, y1, x2, y2 in pixels of the original picture, one expression per row.
"""

import json
import os
import re
from pathlib import Path
from random import Random

import datasets

from loupe.data import tables
from loupe.data.tables import Rows, has_text, is_four_numbers, is_text
from loupe.errors import UserError
from loupe.geometry import Box
from loupe.paths import of_setting
from loupe.records import Example
from loupe.rewards.boxes import complete_boxes

TRAIN_FILES = {"refcoco": "refcoco_train", "refcocoplus": "refcocop_train", "refcocog": "refcocog_train"}
"""VLM-R1's name for the training json of each data set, without the suffix."""
EVALUATION_SEED = 42
"""VLM-R1 shuffles an evaluation file with this seed and judges the first 2,000 rows."""
PREAMBLE = re.compile(r"^.*?\bdescribes?\s*:\s*", re.DOTALL)
"""The part of VLM-R1's problems before the expression."""
IMAGE_MARK = "<image>"


def train_file(path: str | None, dataset: str, train: str | None) -> Path | None:
    """The training json: ``train``, or the one of this data set in ``path``, or None if there is none."""
    if train is not None:
        return require_file("data.train", train)
    if path is None:
        return None
    files = [file for kind in ("jsonl", "json") for file in sorted(tables.require_folder(path).rglob(f"*train.{kind}"))]
    name = TRAIN_FILES[dataset]
    own = [file for file in files if file.stem == name]
    if len(files) > 1 and not own:
        raise UserError(f"data.path={path}: none of its training files is {name}; give data.train=<file>")
    return next(iter(own or files), None)


def require_file(setting: str, path: str) -> Path:
    """``path`` if it is a file, else a :class:`UserError`. setting: where it was given."""
    file = of_setting(path)
    if not file.is_file():
        raise UserError(f"{setting}={path}: no such file; give VLM-R1's json or jsonl")
    return file


def questions(file: Path, images: str | None, question: str) -> Rows:
    """The usable rows of a file in either of its two forms; the others are named in the log.

    images: the folder that the picture paths are relative to, if it is not the file's own. question: a template with
    ``{expression}``. An example's id is the file's name and the number of its row.
    """
    folder = of_setting(images) if images else file.parent
    table = datasets.Dataset.from_list([_record(entry) | {"id": number} for number, entry in enumerate(_entries(file))])

    def has_picture(name: str | None) -> bool:
        # Path.is_file raises an error if a name is too long
        return name is not None and os.path.isfile(folder / name)

    def read(row: dict) -> Example:
        name, picture = f"{file.stem}/{row['id']}", folder / row["image"]
        return example(name, picture, question, row["expression"], tuple(row["box"]))

    return Rows(table, read, tables.usable_rows(table, str(file), image=has_picture, expression=has_text, box=_is_box))


def evaluation(file: Path, images: str | None, question: str) -> Rows:
    """:func:`questions` in the order in which VLM-R1 judges them."""
    rows = questions(file, images, question)
    order = list(range(len(rows.table)))
    Random(EVALUATION_SEED).shuffle(order)
    usable = set(rows.indices)
    return Rows(rows.table, rows.read, [number for number in order if number in usable])


def example(
    name: str, picture: Path | bytes, question: str, expression: str, box: Box, cluster: str | None = None
) -> Example:
    """A question that is answered by a box. question: a template with ``{expression}``."""
    question = question.replace("{expression}", expression.strip())  # other braces in the template stay as they are
    return Example(name, picture, question, (), target_boxes=(box,), answer_box=box, cluster=cluster)


def _entries(file: Path) -> list:
    """The entries of a json or jsonl file; None for a line of a jsonl file that cannot be read."""
    with tables.required_format(file, "VLM-R1's format"), file.open() as lines:
        entries = json.load(lines) if file.suffix == ".json" else [_line(line) for line in lines]
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
        "box": list(map(float, box)) if is_four_numbers(box) else None,
    }


def _is_box(box: object) -> bool:
    return is_four_numbers(box) and box[0] < box[2] and box[1] < box[3]
