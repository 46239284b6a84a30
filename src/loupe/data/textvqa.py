"""TextVQA (arXiv 1904.08920): questions about text in pictures, each with the answers of ten people.

Published as parquet on the hub (``lmms-lab/textvqa``), which may lie in a local folder too, or as
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
    """Trains on the published training split but for about ``n_val`` questions, which choose the checkpoint: all that
    are asked about some pictures drawn by ``heldout_seed``. Tests on ``n_test`` of the published validation split,
    drawn by ``heldout_seed`` (None: all, in order), whose answers are public; those of the test split are not.

    path: a folder, None for the hub. images: the folder of the official json's pictures, if not beside it.
    mined, mix, hard_fraction: see ``mixing.mixed``.
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
    return Example(
        id=f"{PREFIX}{row['question_id']}",
        image=tables.picture(row["image"]),
        question=row["question"],
        references=tuple(row["answers"]),
    )


def hold_out(rows: Sequence[int], pictures: Sequence[str], n: int, seed: int) -> tuple[list[int], list[int]]:
    """``rows`` without, and only, those about some of the ``pictures`` (one a table row): ``n`` rows or a few more."""
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
        raise UserError(f"data.n_val={n}: nothing would be left to train on; take fewer than {len(rows)}")
    return [i for i in rows if i not in chosen], sorted(held)


def draw(rows: list[int], n: int | None, seed: int) -> list[int]:
    """``n`` of ``rows``, the same for the same seed; all if ``n`` is None."""
    if n is None:
        return rows
    require_int("data.n_test", n, 1)
    return sorted(sorted(rows, key=lambda i: sha256(f"{seed}/{i}".encode()).digest())[:n])


def _open(path: str | None, images: str | None, split: str) -> datasets.Dataset:
    if path is None:
        table = tables.from_hub(HUB, split)
    else:
        files = tables.found(path, f"{split}-*.parquet", f"{split}.parquet", f"TextVQA_*_{OFFICIAL[split]}.json")
        table = _official(files[0], images) if files[0].suffix == ".json" else tables.from_files("parquet", files)
    tables.require_columns(table, f"TextVQA {split}", COLUMNS)
    return table


def _official(file: Path, images: str | None) -> datasets.Dataset:
    """The official json. Its pictures, of both splits, lie in ``images``, or in train_images beside it."""
    folder = Path(images) if images else file.parent / "train_images"
    if not folder.is_dir():
        raise UserError(f"data.images: no folder {folder}; name the one that holds <image_id>.jpg")
    try:
        records = json.loads(file.read_text())["data"]
        light = [
            {key: record.get(key) for key in ("image_id", "question_id", "question", "answers")}
            | {"image": {"bytes": None, "path": str(folder / f"{record['image_id']}.jpg")}}
            for record in records
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{file}: not in the form of TextVQA ({{"data": [{{"image_id": ..}}]}}): {error!r}') from error
    return tables.from_records(light)


def _usable(table: datasets.Dataset, name: str) -> list[int]:
    return tables.usable(
        table, name, question=lambda text: bool(text and text.strip()), answers=lambda answers: bool(answers)
    )
