"""Files of JSON lines that grow while a job runs, and what an interrupted job goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

METRICS, TIMING, TRAJECTORIES = "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"
"""What every run writes."""


def read_rows(path: Path) -> list[dict]:
    """The rows of a file; not a last line that was never, or is not yet, completed."""
    return [json.loads(line) for line in _complete(path)]


def keep_rows(path: Path, wanted: Callable[[dict], bool]) -> list[dict]:
    """Drop the rows of a file that are not ``wanted``, and a last line that was never completed; returns the others."""
    kept = [(line, row) for line in _complete(path) if wanted(row := json.loads(line))]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line, _ in kept))
    partial.replace(path)
    return [row for _, row in kept]


def _complete(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
