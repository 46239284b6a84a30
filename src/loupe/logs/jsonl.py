"""The logger that writes a run's metrics and trajectories as JSON lines."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from loupe.logs.rows import METRICS, TIMING, TRAJECTORIES, keep_rows
from loupe.metrics.training import Histogram


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


def _json_value(key: str, value) -> object:
    """A number as it is, a scalar of torch or numpy as a number, a histogram as a dict."""
    if isinstance(value, Histogram):
        return {"counts": value.counts, "edges": value.edges}
    value = value.item() if hasattr(value, "item") else value
    if not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    return value
