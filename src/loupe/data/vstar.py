"""V*Bench (arXiv 2312.14135): small things in large pictures, by multiple choice.

Published on the hub (``craigwu/vstar_bench``) as ``test_questions.jsonl`` beside the folders of pictures, and in the
author's repository as one json beside each picture; only the latter says where the things are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

from huggingface_hub import snapshot_download
from torch.utils.data import Dataset

from loupe import hub
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


class VStar(Dataset[Example]):
    """The questions in a folder of either form. A row that cannot be read is refused by its name."""

    def __init__(self, folder: Path) -> None:
        questions = folder / QUESTIONS
        if questions.is_file():
            lines = enumerate(questions.read_text().splitlines(), start=1)
            self.examples = [
                _published(line, folder, f"{questions}:{number}") for number, line in lines if line.strip()
            ]
        else:
            files = [file for category in CATEGORIES for file in sorted((folder / category).glob("*.json"))]
            self.examples = [_of_author(file) for file in files]
        if not self.examples:
            raise UserError(
                f"data.path={folder}: neither {QUESTIONS} nor {'/*.json or '.join(CATEGORIES)}/*.json in it"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def vstar_datamodule(
    path: str | None, seed: int, n_test: int | None, eval_batch_size: int, batch_size: int = 1, num_workers: int = 0
) -> LoupeDataModule:
    """A test split alone. path: a folder in either form; None downloads the published one."""
    test = tables.first(VStar(_downloaded() if path is None else tables.folder(path)), n_test)
    return LoupeDataModule(None, None, test, batch_size, eval_batch_size, seed, num_workers)


def _downloaded() -> Path:
    hub.prepare()
    try:
        return Path(snapshot_download(HUB, repo_type="dataset"))
    except OSError as error:
        raise UserError(f"data: {HUB} cannot be had from the hub; give data.path=<its folder>") from error


def _published(line: str, folder: Path, name: str) -> Example:
    """A line of test_questions.jsonl; the options are lettered lines of its text."""
    try:
        row = json.loads(line)
        options = dict(OPTION.findall(row["text"]))
        if list(options) != list(LETTERS[: len(options)]) or row["label"] not in options:
            raise ValueError(f"options {list(options)}, label {row['label']!r}")
        picture = folder / row["image"]
        boxes = picture.with_suffix(".json")  # the author's file, where the folder has it too
        return Example(
            id=f"vstar/{row['question_id']}",
            image=picture,
            question=row["text"],
            references=(row["label"],),
            target_boxes=_boxes(json.loads(boxes.read_text())) if boxes.is_file() else (),
            options=tuple(options.values()),
            subset=row["category"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: not in the form of V*Bench ({error!r}); copy the file again") from error


def _of_author(file: Path) -> Example:
    """The author's json of one picture. Its first option is the right one, so they are shuffled, always alike."""
    try:
        row = json.loads(file.read_text())
        options = list(row["options"])
        right = options[0]
        Random(f"vstar/{file.stem}").shuffle(options)
        return Example(
            id=f"vstar/{file.parent.name}/{file.stem}",
            image=_beside(file),
            question=with_options(row["question"], options),
            references=(LETTERS[options.index(right)],),
            target_boxes=_boxes(row),
            options=tuple(options),
            subset=file.parent.name,
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file}: not in the form of V*Bench's author ({error!r}); copy the file again") from error


def _boxes(row: dict) -> tuple[Box, ...]:
    return tuple((x, y, x + width, y + height) for x, y, width, height in row["bbox"])


def _beside(file: Path) -> Path:
    """The picture of the same name; the .jpg if there is none, which is then reported as missing."""
    pictures = [file.with_suffix(suffix) for suffix in SUFFIXES]
    return next((picture for picture in pictures if picture.exists()), pictures[0])
