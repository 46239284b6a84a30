"""Files of JSON lines: their names, and reading and pruning them, without what it takes to train."""

import json
from collections.abc import Callable
from pathlib import Path

from loupe.atomic import replacing
from loupe.errors import UserError

METRICS, TIMING, TRAJECTORIES = "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"
PICTURES = "report"
"""The folder of the pictures of recorded trajectories."""


def read_rows(path: Path) -> list[dict]:
    """The rows of a file, without an incomplete last line. Raises UserError, naming the line, for a damaged one."""
    return [row for _, row in _complete_rows(path)]


def keep_rows(path: Path, wanted: Callable[[dict], bool]) -> list[dict]:
    """Rewrite a file with its ``wanted`` rows only, without an incomplete last line, and return them."""
    kept = [(line, row) for line, row in _complete_rows(path) if wanted(row)]
    with replacing(path) as partial:
        partial.write_text("".join(line for line, _ in kept))
    return [row for _, row in kept]


def _complete_rows(path: Path) -> list[tuple[str, dict]]:
    rows = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        try:
            rows += [(line, json.loads(line))] if line.endswith("\n") else []
        except ValueError as error:
            raise UserError(f"{path}: line {number} is damaged; delete it, or restore the file from a copy") from error
    return rows
