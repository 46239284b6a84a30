"""V*Bench (arXiv 2312.14135): multiple-choice questions about small objects in large pictures.

Published on the hub (``craigwu/vstar_bench``) as ``test_questions.jsonl`` beside the folders of pictures, and in the
author's repository as one json beside each picture; only the latter has the boxes of the objects.
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
    """The questions in a folder in either format. Raises UserError for a row that cannot be read, and names it."""

    def __init__(self, folder: Path) -> None:
        questions = folder / QUESTIONS
        if questions.is_file():
            lines = enumerate(questions.read_text().splitlines(), start=1)
            self.examples = [
                _from_published(line, folder, f"{questions}:{number}") for number, line in lines if line.strip()
            ]
        else:
            files = [file for category in CATEGORIES for file in sorted((folder / category).glob("*.json"))]
            self.examples = [_from_author(file) for file in files]
        if not self.examples:
            raise UserError(
                f"data.path={folder}: neither {QUESTIONS} nor {'/*.json or '.join(CATEGORIES)}/*.json there; "
                "give the folder with the published files"
            )

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def vstar_datamodule(
    path: str | None, seed: int, n_test: int | None, eval_batch_size: int, batch_size: int = 1, num_workers: int = 0
) -> LoupeDataModule:
    """A test split only. path: a folder in either format, or None to download the published one."""
    test = tables.take(VStar(_downloaded() if path is None else tables.require_folder(path)), n_test)
    return LoupeDataModule(None, None, test, batch_size, eval_batch_size, seed, num_workers)


def _downloaded() -> Path:
    hub.prepare()
    try:
        return Path(snapshot_download(HUB, repo_type="dataset"))
    except OSError as error:
        raise UserError(
            f"data: cannot load {HUB} from the hub; give data.path=<folder with the published files>"
        ) from error


def _from_published(line: str, folder: Path, name: str) -> Example:
    """One line of test_questions.jsonl; the lettered lines of its text are the options."""
    try:
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
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: not in V*Bench's format ({error!r}); copy the file again") from error


def _from_author(file: Path) -> Example:
    """The author's json of one picture. Its first option is the correct one, so they are shuffled, keyed by name."""
    try:
        row = json.loads(file.read_text())
        options = list(row["options"])
        correct = options[0]
        Random(f"vstar/{file.stem}").shuffle(options)
        return Example(
            id=f"vstar/{file.parent.name}/{file.stem}",
            image=_picture_beside(file),
            question=with_options(row["question"], options),
            references=(LETTERS[options.index(correct)],),
            target_boxes=_boxes(row),
            options=tuple(options),
            subset=file.parent.name,
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file}: not in the format of V*Bench's author ({error!r}); copy the file again") from error


def _boxes(row: dict) -> tuple[Box, ...]:
    return tuple((x, y, x + width, y + height) for x, y, width, height in row["bbox"])


def _picture_beside(file: Path) -> Path:
    """The picture of the same name; if there is none, the .jpg, so that opening it reports a missing file."""
    pictures = [file.with_suffix(suffix) for suffix in SUFFIXES]
    return next((picture for picture in pictures if picture.exists()), pictures[0])
