"""V*Bench (arXiv 2312.14135): multiple-choice questions about small objects in large pictures.

Published on the hub (``craigwu/vstar_bench``) as ``test_questions.jsonl`` beside the folders of pictures, and in the
author's repository as one json beside each picture; only the latter has the boxes of the objects.
"""

import json
import re
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

HUB = "craigwu/vstar_bench"
QUESTIONS = "test_questions.jsonl"
CATEGORIES = ("direct_attributes", "relative_position")
OPTION = re.compile(r"^\s*\(([A-Z])\)\s*(.+?)\s*$", re.MULTILINE)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def vstar_datamodule(path: str | None, **settings: Any) -> LoupeDataModule:
    """A test split only.

    path: a folder in either format, or None to download the published one. settings: see ``tables.evaluation_only``.
    """
    if path is None:
        with tables.required_hub(HUB):
            path = snapshot_download(HUB, repo_type="dataset")
    return tables.evaluation_only(_read(tables.require_folder(path)), **settings)


def _read(folder: Path) -> list[Example]:
    """The questions in a folder in either format. Raises UserError for a row that cannot be read, and names it."""
    questions = folder / QUESTIONS
    if questions.is_file():
        lines = enumerate(questions.read_text().splitlines(), start=1)
        examples = [_from_published(line, folder, f"{questions}:{number}") for number, line in lines if line.strip()]
    else:
        files = [file for category in CATEGORIES for file in sorted((folder / category).glob("*.json"))]
        examples = [_from_author(file) for file in files]
    if not examples:
        wanted = f"neither {QUESTIONS} nor {'/*.json or '.join(CATEGORIES)}/*.json there"
        raise UserError(f"data.path={folder}: {wanted}; {tables.GIVE_PATH}")
    return examples


def _from_published(line: str, folder: Path, name: str) -> Example:
    """One line of test_questions.jsonl; the lettered lines of its text are the options."""
    with tables.required_format(name, "V*Bench's format"):
        row = json.loads(line)
        options = dict(OPTION.findall(row["text"]))
        if list(options) != list(LETTERS[: len(options)]) or row["label"] not in options:
            raise ValueError(f"options {list(options)}, label {row['label']!r}")
        picture = folder / row["image"]
        boxes = picture.with_suffix(".json")  # the author's file, if the folder has it as well
        return Example(
            id=f"vstar/{row['question_id']}",
            image=picture,
            question=row["text"],
            references=(row["label"],),
            target_boxes=_boxes(json.loads(boxes.read_text())) if boxes.is_file() else (),
            options=tuple(options.values()),
            subset=row["category"],
        )


def _from_author(file: Path) -> Example:
    """The author's json of one picture. Its first option is the correct one, so they are shuffled, keyed by name."""
    with tables.required_format(file, "the format of V*Bench's author"):
        row = json.loads(file.read_text())
        pictures = [file.with_suffix(suffix) for suffix in SUFFIXES]
        options = list(row["options"])
        correct = options[0]
        Random(f"vstar/{file.stem}").shuffle(options)
        return Example(
            id=f"vstar/{file.parent.name}/{file.stem}",
            image=next(filter(Path.exists, pictures), pictures[0]),  # opening a missing one raises BadExample
            question=with_options(row["question"], options),
            references=(LETTERS[options.index(correct)],),
            target_boxes=_boxes(row),
            options=tuple(options),
            subset=file.parent.name,
        )


def _boxes(row: dict) -> tuple[Box, ...]:
    return tuple((x, y, x + width, y + height) for x, y, width, height in row["bbox"])
