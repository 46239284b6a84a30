"""TextVQA (arXiv 1904.08920): questions about text in pictures, each with ten annotators' answers.

Published as parquet on the hub (``lmms-lab/textvqa``; a local copy works too), or as
``TextVQA_0.5.1_{train,val}.json`` with a folder of pictures, ``<image_id>.jpg``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.splits import divide, some
from loupe.data.tables import Rows
from loupe.errors import UserError, require_int
from loupe.paths import of_setting
from loupe.records import Example

HUBS = ("lmms-lab/textvqa", "lmms-lab-encoder/textvqa")
"""The data set has moved from the first owner to the second."""
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
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    hub: str | None = None,
    **settings: Any,
) -> LoupeDataModule:
    """The published training split, of which about ``n_val`` questions are held out for validation, and a test split.

    Validation takes all questions about randomly chosen pictures. The test questions come from the published validation
    split, because the answers of the published test split are not public: ``n_test`` random ones, or all in order if it
    is None. Both choices are keyed by ``heldout_seed``.

    path: a folder, or None for the hub. hub: the id there, if it is not one of the known ones. images: the folder with
    the pictures of the official json, if it is not train_images beside the json. mined, mix, hard_fraction: see
    ``mixing.mixed``. settings: see :class:`LoupeDataModule`.
    """
    (train, rows), (test, test_rows) = (_open(path, hub, images, split) for split in ("train", "validation"))
    kept, held = hold_out(rows, train["image_id"][:], require_int("data.n_val", n_val, 1), heldout_seed)
    kept = kept[: None if n_train is None else require_int("data.n_train", n_train, 1)]
    test_rows = some(test_rows, n_test, "data.n_test", heldout_seed)
    numbers = train["question_id"][:]
    ids = [f"{PREFIX}{numbers[i]}" for i in kept]
    chosen = mixed(Rows(train, example, kept), ids, mined, mix, hard_fraction, seed)
    val = Rows(train, example, held)
    return LoupeDataModule(chosen, val, Rows(test, example, test_rows), seed=seed, **settings)


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
    parts = divide(rows, pictures, {"val": n}, seed)
    if not parts["train"]:
        raise UserError(f"data.n_val={n}: leaves nothing to train on; take fewer than {len(rows)}")
    return parts["train"], parts["val"]


def _open(path: str | None, hub: str | None, images: str | None, split: str) -> tuple[datasets.Dataset, list[int]]:
    """The table of a split, and the numbers of its usable rows."""
    name = f"TextVQA {split}"
    if path is None:
        table = tables.split_from_hub(hub, HUBS, split)
    else:
        files = tables.find_files(path, f"{split}-*.parquet", f"{split}.parquet", f"TextVQA_*_{OFFICIAL[split]}.json")
        table = _official(files[0], images) if files[0].suffix == ".json" else tables.from_files("parquet", files)
    checks: dict[str, tables.Check] = {
        "question_id": tables.is_given,
        "question": tables.has_text,
        "answers": tables.is_texts,
    }
    return table, tables.usable_rows(table, name, COLUMNS, ("question_id",), **checks)


def _official(file: Path, images: str | None) -> datasets.Dataset:
    """The official json; ``images``, or else train_images beside it, holds the pictures of both splits."""
    folder = of_setting(images) if images else file.parent / "train_images"
    if not folder.is_dir():
        raise UserError(f"data.images={folder}: no such folder; give the one that holds <image_id>.jpg")
    with tables.required_format(file, "TextVQA's format"):
        records = [_record(entry, folder) for entry in json.loads(file.read_text())["data"]]
    return datasets.Dataset.from_list(records)


def _record(entry: object, folder: Path) -> dict:
    """A row of the official json in the columns of the published table; None for what is missing or of another type."""
    entry = entry if isinstance(entry, dict) else {}
    name, number = (_as_name(entry.get(key)) for key in ("image_id", "question_id"))
    question, answers = entry.get("question"), entry.get("answers")
    return {
        "image_id": name,
        "question_id": number,
        "question": question if tables.is_text(question) else None,
        "answers": answers if tables.is_texts(answers) else None,
        "image": {"bytes": None, "path": name and str(folder / f"{name}.jpg")},
    }


def _as_name(value: object) -> str | None:
    return str(value) if isinstance(value, int) or tables.is_text(value) else None
