"""TextVQA (arXiv 1904.08920): questions about text in pictures, each with ten annotators' answers.

Published as parquet on the hub (``lmms-lab/textvqa``; a local copy works too), or as
``TextVQA_0.5.1_{train,val}.json`` with a folder of pictures, ``<image_id>.jpg``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import datasets

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.tables import Rows
from loupe.errors import UserError, require_int
from loupe.records import Example

HUB = "lmms-lab/textvqa"
OFFICIAL = {"train": "train", "validation": "val"}
PREFIX = "textvqa/"
COLUMNS = ("image_id", "question_id", "question", "image", "answers")


def textvqa_datamodule(
    path: str | None,
    images: str | None,
    seed: int,
    heldout_seed: int,
    n_train: int | None,
    n_val: int,
    n_test: int | None,
    batch_size: int,
    eval_batch_size: int,
    num_workers: int = 0,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
) -> LoupeDataModule:
    """The published training split, of which about ``n_val`` questions are held out for validation, and a test split.

    Validation takes all questions about randomly chosen pictures. The test questions come from the published validation
    split, because the answers of the published test split are not public: ``n_test`` random ones, or all in order if it
    is None. Both choices are keyed by ``heldout_seed``.

    path: a folder, or None for the hub. images: the folder with the pictures of the official json, if it is not
    train_images beside the json. mined, mix, hard_fraction: see ``mixing.mixed``.
    """
    train, test = (_open(path, images, split) for split in ("train", "validation"))
    rows = _usable(train, "TextVQA train")
    kept, val = hold_out(rows, train["image_id"], require_int("data.n_val", n_val, 1), heldout_seed)
    kept = kept[: None if n_train is None else require_int("data.n_train", n_train, 1)]
    numbers = train["question_id"]
    ids = [f"{PREFIX}{numbers[i]}" for i in kept]
    return LoupeDataModule(
        train=mixed(Rows(train, example, kept), ids, mined, mix, hard_fraction, seed),
        val=Rows(train, example, val),
        test=Rows(test, example, draw(_usable(test, "TextVQA validation"), n_test, heldout_seed)),
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        seed=seed,
        num_workers=num_workers,
    )


def example(row: dict) -> Example:
    """One row of the published table as an example."""
    return Example(
        id=f"{PREFIX}{row['question_id']}",
        image=tables.stored_picture(row["image"]),
        question=row["question"],
        references=tuple(row["answers"]),
    )


def hold_out(rows: Sequence[int], pictures: Sequence[str], n: int, seed: int) -> tuple[list[int], list[int]]:
    """Hold out all rows about randomly chosen pictures, until they are ``n`` rows or more: (kept rows, held-out rows).

    rows: row numbers. pictures: the picture's name for every row of the table. seed: keys the choice of pictures.
    """
    order = sorted({pictures[i] for i in rows}, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    about: dict[str, list[int]] = {}
    for i in rows:
        about.setdefault(pictures[i], []).append(i)
    held: list[int] = []
    for name in order:
        if len(held) >= n:
            break
        held += about[name]
    chosen = set(held)
    if len(chosen) == len(rows):
        raise UserError(f"data.n_val={n}: leaves nothing to train on; take fewer than {len(rows)}")
    return [i for i in rows if i not in chosen], sorted(held)


def draw(rows: list[int], n: int | None, seed: int) -> list[int]:
    """``n`` random ones of ``rows``, keyed by ``seed``; all if ``n`` is None."""
    if n is None:
        return rows
    require_int("data.n_test", n, 1)
    return sorted(sorted(rows, key=lambda i: sha256(f"{seed}/{i}".encode()).digest())[:n])


def _open(path: str | None, images: str | None, split: str) -> datasets.Dataset:
    if path is None:
        table = tables.from_hub(HUB, split)
    else:
        files = tables.find_files(path, f"{split}-*.parquet", f"{split}.parquet", f"TextVQA_*_{OFFICIAL[split]}.json")
        table = _official(files[0], images) if files[0].suffix == ".json" else tables.from_files("parquet", files)
    tables.require_columns(table, f"TextVQA {split}", COLUMNS)
    return table


def _official(file: Path, images: str | None) -> datasets.Dataset:
    """The official json; ``images``, or else train_images beside it, holds the pictures of both splits."""
    folder = Path(images) if images else file.parent / "train_images"
    if not folder.is_dir():
        raise UserError(f"data.images={folder}: no such folder; give the one that holds <image_id>.jpg")
    try:
        records = json.loads(file.read_text())["data"]
        light = [
            {key: record.get(key) for key in ("image_id", "question_id", "question", "answers")}
            | {"image": {"bytes": None, "path": str(folder / f"{record['image_id']}.jpg")}}
            for record in records
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not in TextVQA's format ({error!r}); copy the file again") from error
    return tables.from_records(light)


def _usable(table: datasets.Dataset, name: str) -> list[int]:
    return tables.usable_rows(
        table, name, question=lambda text: bool(text and text.strip()), answers=lambda answers: bool(answers)
    )
