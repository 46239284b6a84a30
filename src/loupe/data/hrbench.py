"""HR-Bench (arXiv 2408.15556): multiple-choice questions about 4K and 8K pictures.

Each question occurs four times, with its options rotated. Published as parquet on the hub (``DreamMr/HR-Bench``) and as
TSV, with the same columns.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import datasets

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.errors import require_choice
from loupe.records import Example
from loupe.rewards.choice import LETTERS, with_options

HUBS = ("DreamMr/HR-Bench",)
OPTIONS = tuple(LETTERS[:4])
COLUMNS = ("index", "question", *OPTIONS, "answer", "category", "cycle_category", "image")
OFFICIAL_REQUEST = "Please select the correct answer from the options above."
SUBSETS = {"single": "FSP", "cross": "FCP"}
"""Fine-grained single-instance and cross-instance perception."""


def hrbench_datamodule(
    path: str | None, split: str, prompt: str, hub: str | None = None, **settings: Any
) -> LoupeDataModule:
    """A test split only.

    path: the folder with the parquet files or the TSV, or None for the hub. hub: the id there, if it is not the known
    one. split: "hrbench_4k" or "hrbench_8k". prompt: the form of the questions, one of ``PROMPTS``. settings: see
    ``tables.evaluation_only``.
    """
    require_choice("data.prompt", prompt, PROMPTS)
    table = _open(path, hub, split)
    checks: dict[str, tables.Check] = dict.fromkeys(OPTIONS, tables.is_given) | {
        "question": tables.has_text,
        "answer": OPTIONS.__contains__,
    }
    rows = tables.usable_rows(table, split, COLUMNS, ("index", "cycle_category"), **checks)
    return tables.evaluation_only(tables.Rows(table, lambda row: example(row, split, prompt), rows), **settings)


def official(question: str, options: Sequence[str]) -> str:
    """The question as VLMEvalKit and the evaluators that follow it ask it."""
    lettered = (f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return "\n".join([f"Question: {question}", "Options:", *lettered, OFFICIAL_REQUEST])


PROMPTS = {"official": official, "letters": with_options}
"""Forms of a question. "letters" is that of V*Bench."""


def example(row: dict, split: str, prompt: str = "official") -> Example:
    """One row of the published table as an example. prompt: one of ``PROMPTS``."""
    options = [str(row[letter]) for letter in OPTIONS]
    picture = tables.stored_picture(row["image"])
    identity = (row["question"], sorted(options), sha256(bytes(picture)).digest())  # shared by the rotations
    return Example(
        id=f"{split}/{row['index']}/{row['cycle_category']}",
        image=picture,
        question=PROMPTS[prompt](row["question"], options),
        references=(row["answer"],),
        options=tuple(options),
        subset=SUBSETS.get(row["category"], row["category"]),
        cycle=str(row["cycle_category"]),
        cluster=sha256(repr(identity).encode()).hexdigest()[:16],
    )


def _open(path: str | None, hub: str | None, split: str) -> datasets.Dataset:
    if path is None:
        return tables.split_from_hub(hub, HUBS, split)
    size = split.removeprefix("hrbench_")
    files = tables.find_files(path, f"*{size}*.parquet", f"*{size}*.tsv")
    if files[0].suffix == ".parquet":
        return tables.from_files("parquet", files)
    features = datasets.Features({column: datasets.Value("string") for column in COLUMNS})
    # A few rows at a time, because each holds a picture of many megabytes.
    return tables.from_files("csv", files, sep="\t", chunksize=4, features=features, keep_default_na=False)
