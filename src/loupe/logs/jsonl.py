"""JSON lines: the logger that writes a run's metrics and trajectories, and functions that read and prune such files."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from loupe.metrics.training import Histogram

METRICS, TIMING, TRAJECTORIES = "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"
"""The files that JsonlLogger writes."""


class JsonlLogger(Logger):
    """Appends one JSON line per call to the files in ``folder``; each file is created with its first line.

    On a given machine metrics.jsonl depends only on code, configuration and seed (exactly so on CPUs), so two runs can
    be compared byte for byte. Keys that begin with ``time/`` therefore go to timing.jsonl.
    """

    name = None
    version = ""  # the progress bar shows none

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    log_dir = save_dir

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Histogram], step: int) -> None:
        """Write the metrics of one step, sorted by key. Raises ValueError if a value is not finite, which is a bug."""
        parts: dict[str, dict] = {METRICS: {}, TIMING: {}}
        for key in sorted(metrics):
            parts[TIMING if key.startswith("time/") else METRICS][key] = _json_value(key, metrics[key])
        for name, part in parts.items():
            self._append(name, [{"step": step} | part] if part else [])

    @rank_zero_only
    def log_trajectories(self, rows: list[dict]) -> None:
        """Write one line per trajectory; each row must hold JSON values only."""
        self._append(TRAJECTORIES, rows)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Drop the rows logged after ``step`` or after training (split "after"), and an incomplete last line."""
        for path in (self.folder / name for name in (METRICS, TIMING, TRAJECTORIES)):
            if path.exists():
                keep_rows(path, lambda row: row["step"] <= step and row.get("split") != "after")

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Do nothing: the resolved configuration is saved in the same folder."""

    def finish(self) -> None:
        """Do nothing: every line is on disk as soon as it is logged."""

    def _append(self, name: str, rows: list[dict]) -> None:
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / name, "a") as file:
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_rows(path: Path) -> list[dict]:
    """The rows of a file, without an incomplete last line."""
    return [json.loads(line) for line in _complete_lines(path)]


def keep_rows(path: Path, wanted: Callable[[dict], bool]) -> list[dict]:
    """Rewrite a file with its ``wanted`` rows only, without an incomplete last line, and return them."""
    kept = [(line, row) for line in _complete_lines(path) if wanted(row := json.loads(line))]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(line for line, _ in kept))
    partial.replace(path)
    return [row for _, row in kept]


def _complete_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _json_value(key: str, value) -> object:
    """A number as it is, a scalar of torch or numpy as a number, a histogram as a dict."""
    if isinstance(value, Histogram):
        return {"counts": value.counts, "edges": value.edges}
    value = value.item() if hasattr(value, "item") else value
    if not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    return value
