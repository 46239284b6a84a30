"""HR-Bench (arXiv 2408.15556): multiple-choice questions about 4K and 8K pictures.

Each question occurs four times, with its options rotated. Published as parquet on the hub (``DreamMr/HR-Bench``) and as
TSV, with the same columns.
"""

from hashlib import sha256
from typing import Any

import datasets

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.records import Example
from loupe.rewards.choice import LETTERS, with_options

HUB = "DreamMr/HR-Bench"
OPTIONS = tuple(LETTERS[:4])
COLUMNS = ("index", "question", *OPTIONS, "answer", "category", "cycle_category", "image")
SUBSETS = {"single": "FSP", "cross": "FCP"}
"""Fine-grained single-instance and cross-instance perception."""


def hrbench_datamodule(path: str | None, split: str, **settings: Any) -> LoupeDataModule:
    """A test split only.

    path: the folder with the parquet files or the TSV, or None for the hub. split: "hrbench_4k" or "hrbench_8k".
    settings: see ``tables.evaluation_only``.
    """
    table = _open(path, split)
    checks = dict.fromkeys(OPTIONS, tables.is_given) | {"question": tables.has_text, "answer": OPTIONS.__contains__}
    rows = tables.usable_rows(table, split, COLUMNS, **checks)
    return tables.evaluation_only(tables.Rows(table, lambda row: example(row, split), rows), **settings)


def example(row: dict, split: str) -> Example:
    """One row of the published table as an example."""
    options = [str(row[letter]) for letter in OPTIONS]
    picture = tables.stored_picture(row["image"])
    identity = (row["question"], sorted(options), sha256(bytes(picture)).digest())  # shared by the rotations
    return Example(
        id=f"{split}/{row['index']}/{row['cycle_category']}",
        image=picture,
        question=with_options(row["question"], options),
        references=(row["answer"],),
        options=tuple(options),
        subset=SUBSETS.get(row["category"], row["category"]),
        cycle=str(row["cycle_category"]),
        cluster=sha256(repr(identity).encode()).hexdigest()[:16],
    )


def _open(path: str | None, split: str) -> datasets.Dataset:
    if path is None:
        return tables.from_hub(HUB, split)
    size = split.removeprefix("hrbench_")
    files = tables.find_files(path, f"*{size}*.parquet", f"*{size}*.tsv")
    if files[0].suffix == ".parquet":
        return tables.from_files("parquet", files)
    features = datasets.Features({column: datasets.Value("string") for column in COLUMNS})
    # A few rows at a time, because each holds a picture of many megabytes.
    return tables.from_files("csv", files, sep="\t", chunksize=4, features=features, keep_default_na=False)
