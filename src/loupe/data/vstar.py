"""V*Bench (arXiv 2312.14135): multiple-choice questions about small objects in large pictures.

Published on the hub (``craigwu/vstar_bench``) as ``test_questions.jsonl`` beside the folders of pictures, and in the
author's repository as one json beside each picture; only the latter has the boxes of the objects.
"""

import json
import logging
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from huggingface_hub import snapshot_download

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.errors import UserError
from loupe.geometry import Box
from loupe.records import Example
from loupe.rewards.choice import LETTERS, with_options

LOG = logging.getLogger(__name__)
HUBS = ("craigwu/vstar_bench",)
QUESTIONS = "test_questions.jsonl"
CATEGORIES = ("direct_attributes", "relative_position")
OPTION = re.compile(r"^[^\S\n]*\(([A-Z])\)(.*\S)", re.MULTILINE)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def vstar_datamodule(path: str | None, hub: str | None = None, **settings: Any) -> LoupeDataModule:
    """A test split only.

    path: a folder in either format, or None to download the published one. hub: the id on the hub, if it is not the
    known one. settings: see ``tables.evaluation_only``.
    """
    if path is None:
        path = tables.from_hub(hub, HUBS, partial(snapshot_download, repo_type="dataset"))
    return tables.evaluation_only(_read(tables.require_folder(path)), **settings)


def _read(folder: Path) -> list[Example]:
    """The usable questions in a folder in either format; the others are named in the log."""
    readers = _readers(folder)
    examples: dict[str, Example] = {}
    for read in readers:
        try:
            example = read()
        except UserError as error:
            LOG.warning("V*Bench: skipped a question: %s", error)
            continue
        if examples.setdefault(example.id, example) is not example:
            LOG.warning("V*Bench: skipped a question: another one before it is %s, too", example.id)
    if not examples:
        raise UserError(f"data.path={folder}: none of its {len(readers)} questions is usable; see above")
    return list(examples.values())


def _readers(folder: Path) -> list[Callable[[], Example]]:
    """A function for each question in a folder, which reads it or raises a UserError that names it."""
    questions = folder / QUESTIONS
    if questions.is_file():
        with tables.required_format(questions, "V*Bench's format"), questions.open() as file:
            lines = [(line, f"{questions}:{number}") for number, line in enumerate(file, start=1) if line.strip()]
        if lines:
            return [partial(_from_published, line, folder, name) for line, name in lines]
    files = [file for category in CATEGORIES for file in sorted((folder / category).glob("*.json"))]
    if not files:
        wanted = f"neither {QUESTIONS} nor {'/*.json or '.join(CATEGORIES)}/*.json there"
        raise UserError(f"data.path={folder}: {wanted}; {tables.GIVE_PATH}")
    return [partial(_from_author, file) for file in files]


def _from_published(line: str, folder: Path, name: str) -> Example:
    """One line of test_questions.jsonl; the lettered lines of its text are the options."""
    with tables.required_format(name, "V*Bench's format"):
        row = json.loads(line)
        options = {letter: option.strip() for letter, option in OPTION.findall(_text(row, "text"))}
        if list(options) != list(LETTERS[: len(options)]) or row["label"] not in options:
            raise ValueError(f"options {list(options)}, label {row['label']!r}")
        picture = folder / _text(row, "image")
        boxes = picture.with_suffix(".json")  # the author's file, if the folder has it as well
        return Example(
            id=f"vstar/{row['question_id']}",
            image=picture,
            question=row["text"],
            references=(row["label"],),
            target_boxes=_boxes(json.loads(boxes.read_text())) if os.path.isfile(boxes) else (),
            options=tuple(options.values()),
            subset=_text(row, "category"),
        )


def _from_author(file: Path) -> Example:
    """The author's json of one picture. Its first option is the correct one, so they are shuffled, keyed by name."""
    with tables.required_format(file, "the format of V*Bench's author"):
        row = json.loads(file.read_text())
        pictures = [file.with_suffix(suffix) for suffix in SUFFIXES]
        options = row["options"]
        if not tables.is_texts(options) or len(options) > len(LETTERS):
            raise ValueError(f"options {options!r}")
        correct, options = options[0], list(options)
        Random(f"vstar/{file.stem}").shuffle(options)
        return Example(
            id=f"vstar/{file.parent.name}/{file.stem}",
            image=next(filter(Path.exists, pictures), pictures[0]),  # opening a missing one raises BadExample
            question=with_options(_text(row, "question"), options),
            references=(LETTERS[options.index(correct)],),
            target_boxes=_boxes(row),
            options=tuple(options),
            subset=file.parent.name,
        )


def _text(row: dict, key: str) -> str:
    if not tables.has_text(row[key]):
        raise ValueError(f"{key} {row[key]!r}")
    return row[key]


def _boxes(row: dict) -> tuple[Box, ...]:
    if not all(map(tables.is_four_numbers, row["bbox"])):
        raise ValueError(f"bbox {row['bbox']!r}")
    return tuple((x, y, x + width, y + height) for x, y, width, height in row["bbox"])
