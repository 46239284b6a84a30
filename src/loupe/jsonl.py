"""Files of JSON lines that grow while a job runs, and what an interrupted job goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def keep_rows(path: Path, wanted: Callable[[dict], bool]) -> list[dict]:
    """Drop the rows of a file that are not ``wanted``, and a last line that was never completed; returns the others."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [(line, row) for line in lines if wanted(row := json.loads(line))]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line, _ in kept))
    partial.replace(path)
    return [row for _, row in kept]
