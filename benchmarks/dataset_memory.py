"""Memory that a data set of the published size needs, besides the model.

    python benchmarks/dataset_memory.py [rows=35000] [kilobytes=40]

Writes a data set in TextVQA's parquet format, with ``rows`` training questions and a picture for each, to a temporary
folder, opens it as ``data=textvqa`` does and reads every training question once, in the order of training. Measures
anonymous memory, because the system can reclaim pages that are mapped from disk at any time. Linux only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

ROWS_PER_FILE = 1000


def write(folder: Path, split: str, rows: int, size: int) -> None:
    """Write one split. Its pictures are ``size`` bytes of noise, which cannot be compressed; nothing opens them."""
    noise = np.random.default_rng(0)
    for start in range(0, rows, ROWS_PER_FILE):
        numbers = range(start, min(start + ROWS_PER_FILE, rows))
        table = {
            "image_id": [f"{split}{number:06x}" for number in numbers],
            "question_id": list(numbers),
            "question": ["what does it say on the small sign behind the red car?"] * len(numbers),
            "answers": [["stop"] * 10] * len(numbers),
            "image": [{"bytes": noise.bytes(size), "path": None} for _ in numbers],
        }
        parquet.write_table(pyarrow.table(table), folder / f"{split}-{start // ROWS_PER_FILE:05}-of-x.parquet")


def anonymous() -> float:
    """Memory of this process that is not mapped from a file, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main(rows: int = 35000, kilobytes: int = 40) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        folder = Path(scratch) / "textvqa"
        folder.mkdir()
        write(folder, "train", rows, kilobytes * 1024)
        write(folder, "validation", 1000, kilobytes * 1024)

        from loupe.data.textvqa import textvqa_datamodule  # only once HF_HOME is set

        before = anonymous()
        n_val = min(256, rows // 5)  # taken out of the training questions
        data = textvqa_datamodule(str(folder), None, 0, 0, None, n_val, 500, batch_size=4, eval_batch_size=16)
        opened = peak = anonymous()
        loader = iter(data.train_dataloader())
        for _ in range(len(data.train) // 4):
            pictures = sum(len(example.image) for example in next(loader))
            peak = max(peak, anonymous())
        assert pictures == 4 * kilobytes * 1024
        size = sum(file.stat().st_size for file in folder.glob("*.parquet")) / 2**20
        print(f"{rows} rows, {size:,.0f} MiB of parquet; memory above that before opening it, in MiB:")
        print(f"opened {opened - before:.0f}, peak while reading every row {peak - before:.0f}")


if __name__ == "__main__":
    main(**{key: int(value) for key, value in (argument.split("=") for argument in sys.argv[1:])})
