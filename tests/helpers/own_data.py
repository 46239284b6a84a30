"""One small data set of one's own, fifty pictures of which each has a question, in every form that can be read."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import datasets
from PIL import Image

COUNT = 50
SPLIT_SIZES = {"train": 40, "val": 5, "test": 5}
LINES = 'What is on it?\nAnswer "briefly".'


def picture(number: int) -> bytes:
    """Lossless, and different for each number."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (5 * number, 0, 99)).save(file, "PNG")
    return file.getvalue()


def rows() -> list[dict]:
    """The question of every other row has two lines and quotes; every third row has two answers, every fifth a box."""
    splits = [split for split, size in SPLIT_SIZES.items() for _ in range(size)]
    return [
        {
            "image": f"pictures/{number:02}.png",
            "question": LINES if number % 2 else "What number, please?",
            "answers": [f"{number},5", "né"] if number % 3 == 0 else [str(number)],
            "box": [1.0, 2.0, 11.0, 22.0] if number % 5 == 0 else None,
            "subset": "even" if number % 2 == 0 else "odd",
            "id": f"q{number}",
            "split": split,
        }
        for number, split in enumerate(splits)
    ]


def with_pictures(folder: Path) -> list[dict]:
    """The rows, with their pictures written into ``folder``."""
    (folder / "pictures").mkdir(parents=True)
    for number, row in enumerate(rows()):
        (folder / row["image"]).write_bytes(picture(number))
    return rows()


def separated(folder: Path, suffix: str = "csv", delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
    """Lists are written as Python prints them, boxes as JSON."""
    records = with_pictures(folder)
    with (folder / f"labels.{suffix}").open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, records[0], delimiter=delimiter)
        writer.writeheader()
        for row in records:
            box, answers = row["box"] and json.dumps(row["box"]), row["answers"]
            writer.writerow(row | {"answers": answers if len(answers) > 1 else answers[0], "box": box})


def jsonl(folder: Path) -> None:
    lines = [json.dumps(row) for row in with_pictures(folder)]
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n\n")


def mixed_json(folder: Path) -> None:
    """A list under a key; a single answer is a number, not a list; every file of a split is named after it."""
    records = with_pictures(folder)
    for row in records:
        row["answers"] = row["answers"] if len(row["answers"]) > 1 else int(row["answers"][0])
    for split in SPLIT_SIZES:
        own = [{key: value for key, value in row.items() if key != "split"} for row in records if row["split"] == split]
        (folder / f"mine_{split}.json").write_text(json.dumps({"version": 1, "data": own}))


def inline(folder: Path, encode: Callable[[bytes], str]) -> None:
    folder.mkdir()
    records = [row | {"image": encode(picture(number))} for number, row in enumerate(rows())]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, records)))


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def on_the_hub(folder: Path) -> None:
    """Parquet shards as the ``datasets`` library writes them, with its own notes beside them."""
    (folder / "data").mkdir(parents=True)
    records = [row | {"image": {"bytes": picture(n), "path": f"{n}.png"}} for n, row in enumerate(rows())]
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        own = [{key: value for key, value in row.items() if key != "split"} for row in records if row["split"] == split]
        for shard, part in enumerate((own[:3], own[3:])):
            table = datasets.Dataset.from_list(part).cast_column("image", datasets.Image())
            table.to_parquet(folder / "data" / f"{name}-{shard:05}-of-00002.parquet")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "train.json").write_text("[]")


FORMS: dict[str, Callable[[Path], None]] = {
    "csv": separated,
    "semicolons": lambda folder: separated(folder, delimiter=";"),
    "tsv": lambda folder: separated(folder, "tsv", "\t", "utf-16"),
    "jsonl": jsonl,
    "json": mixed_json,
    "base64": lambda folder: inline(folder, as_base64),
    "data_url": lambda folder: inline(folder, lambda data: f"data:image/png;base64,{as_base64(data)}"),
    "hub": on_the_hub,
}
"""Each writes the data set into a folder that does not exist yet."""
