"""JSON lines: the logger that writes a run's metrics and trajectories, and functions that read and prune such files."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from loupe.atomic import replacing
from loupe.errors import UserError
from loupe.metrics.training import Histogram

METRICS, TIMING, TRAJECTORIES = "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"


class FolderLogger(Logger):
    """A logger with its files in ``folder``, where a run's resolved configuration is saved too."""

    version = ""  # the progress bar shows none

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Do nothing: the folder has the configuration."""

    def finish(self) -> None:
        """Release what the logger holds when the job ends."""


class JsonlLogger(FolderLogger):
    """Appends JSON lines to the files ``METRICS``, ``TIMING`` and ``TRAJECTORIES``, each created with its first line.

    On a given machine metrics.jsonl depends only on code, configuration and seed (exactly so on CPUs), so two runs can
    be compared byte for byte. Keys that begin with ``time/`` therefore go to timing.jsonl.
    """

    name = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Histogram], step: int) -> None:
        """Write the metrics of one step, sorted by key. Raises ValueError if a value is not finite, which is a bug."""
        values = {key: _json_value(key, metrics[key]) for key in sorted(metrics)}
        for name, timed in ((METRICS, False), (TIMING, True)):
            part = {key: value for key, value in values.items() if key.startswith("time/") == timed}
            self._append(name, [{"step": step} | part] if part else [])

    @rank_zero_only
    def log_trajectories(self, rows: list[dict]) -> None:
        """Write one line per trajectory; each row must hold JSON values only."""
        self._append(TRAJECTORIES, rows)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Drop the rows logged after ``step`` or after training (split "after"), and an incomplete last line."""
        for name in (METRICS, TIMING, TRAJECTORIES):
            if (path := self.folder / name).exists():
                keep_rows(path, lambda row: row["step"] <= step and row.get("split") != "after")

    def _append(self, name: str, rows: list[dict]) -> None:
        if rows:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / name, "a") as file:
                file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


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


def _json_value(key: str, value) -> object:
    """A number as it is, a scalar of torch or numpy as a number, a histogram as a dict."""
    if isinstance(value, Histogram):
        return {"counts": value.counts, "edges": value.edges}
    value = value.item() if hasattr(value, "item") else value
    if not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    return value
