"""Memory that a data set of the published size needs, beside the model.

    python benchmarks/dataset_memory.py [rows=35000] [kilobytes=40]

Writes TextVQA's parquet form with ``rows`` training questions, each with its picture, to a temporary folder, opens it
as ``data=textvqa`` does and reads every training question once, in the order of training. Linux only. What counts is
anonymous memory: pages of the table that are mapped from disk can be given back at any time.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

ROWS_A_FILE = 1000


def write(folder: Path, split: str, rows: int, size: int) -> None:
    """Noise for pictures: nothing opens them here, and it cannot be compressed."""
    noise = np.random.default_rng(0)
    for start in range(0, rows, ROWS_A_FILE):
        numbers = range(start, min(start + ROWS_A_FILE, rows))
        table = {
            "image_id": [f"{split}{number:06x}" for number in numbers],
            "question_id": list(numbers),
            "question": ["what does it say on the small sign behind the red car?"] * len(numbers),
            "answers": [["stop"] * 10] * len(numbers),
            "image": [{"bytes": noise.bytes(size), "path": None} for _ in numbers],
        }
        parquet.write_table(pyarrow.table(table), folder / f"{split}-{start // ROWS_A_FILE:05}-of-x.parquet")


def anonymous() -> float:
    """MiB of memory that is not mapped from a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(rows: int = 35000, kilobytes: int = 40) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        folder = Path(scratch) / "textvqa"
        folder.mkdir()
        write(folder, "train", rows, kilobytes * 1024)
        write(folder, "validation", 1000, kilobytes * 1024)

        from loupe.data.textvqa import textvqa_datamodule  # after HF_HOME was set

        before = anonymous()
        data = textvqa_datamodule(str(folder), None, 0, 0, None, 256, 500, batch_size=4, eval_batch_size=16)
        opened = most = anonymous()
        loader = iter(data.train_dataloader())
        for _ in range(len(data.train) // 4):
            pictures = sum(len(example.image) for example in next(loader))
            most = max(most, anonymous())
        assert pictures == 4 * kilobytes * 1024
        size = sum(file.stat().st_size for file in folder.glob("*.parquet")) / 2**20
        print(f"{rows} rows, {size:,.0f} MiB of parquet; memory above what was there before, MiB:")
        print(f"opened {opened - before:.0f}, at most {most - before:.0f} while every row is read")


if __name__ == "__main__":
    main(**{key: int(value) for key, value in (argument.split("=") for argument in sys.argv[1:])})
