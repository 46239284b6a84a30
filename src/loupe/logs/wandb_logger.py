"""Where metrics go: JSON lines in the run's folder (always), and Weights & Biases, under the same keys."""

from __future__ import annotations

import json
import math
import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from loupe.errors import UserError, require_choice
from loupe.logs.jsonl import METRICS, TIMING, TRAJECTORIES, keep_rows
from loupe.metrics.training import Histogram

MODES = ("auto", "online", "offline", "disabled")


class JsonlLogger(Logger):
    """Appends one JSON line per call to the files in ``folder``; a file appears with its first line.

    On one machine metrics.jsonl depends on nothing but code, configuration and seed (exactly so on CPUs), so that two
    runs can be compared byte by byte; keys that begin with ``time/`` go to timing.jsonl instead.
    """

    name = None
    version = None

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    log_dir = save_dir

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Histogram], step: int) -> None:
        """Write the metrics of one step, sorted by key. Raises ValueError if one of them is not finite (a bug)."""
        parts: dict[str, dict] = {METRICS: {}, TIMING: {}}
        for key in sorted(metrics):
            parts[TIMING if key.startswith("time/") else METRICS][key] = _plain(key, metrics[key])
        for name, part in parts.items():
            self._append(name, [{"step": step} | part] if part else [])

    @rank_zero_only
    def log_trajectories(self, rows: list[dict]) -> None:
        """Write rows as made by ``metrics.trajectory_row``."""
        self._append(TRAJECTORIES, rows)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Drop what was logged after ``step`` or after the training, and a last line that was never completed."""
        for path in (self.folder / name for name in (METRICS, TIMING, TRAJECTORIES)):
            if path.exists():
                keep_rows(path, lambda row: _belongs(row, step))

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Nothing: the resolved configuration lies beside these files."""

    def finish(self) -> None:
        """Nothing: every line is on disk as soon as it is logged."""

    def _append(self, name: str, rows: list[dict]) -> None:
        if not rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / name, "a") as file:
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


class RunWandbLogger(WandbLogger):
    """Weights & Biases, one W&B run per job, its files under ``folder``/wandb.

    mode: "online", "offline" (upload later with ``wandb sync``), "disabled", or "auto": what WANDB_MODE says, else
        online if there is an API key (WANDB_API_KEY or netrc) and offline if there is none.
    run_config: the resolved configuration, as plain dicts (not ``config``, a name that Hydra's instantiate takes).
    """

    def __init__(
        self,
        mode: str,
        folder: str | Path,
        project: str,
        group: str | None = None,
        name: str | None = None,
        run_config: dict | None = None,
    ):
        require_choice("logger.mode", mode, MODES)
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")
            require_choice("WANDB_MODE", mode, MODES[1:])
        super().__init__(
            name=name,
            save_dir=folder,
            project=project,
            group=group,
            config=run_config,
            mode=mode,
            resume=None,
            # Only online has something to tell: the address of the run.
            settings=wandb.Settings(console="off", quiet=True, silent=mode != "online"),
        )
        del self._wandb_init["anonymous"]  # Lightning passes it, W&B warns of it
        self.mode = mode
        self._failed = False

    @property
    @rank_zero_experiment
    def experiment(self):
        """The W&B run, started when first asked for. Raises UserError if W&B does not let us in."""
        try:
            return super().experiment
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(f"logger.mode={self.mode}: {reason}; or choose logger.mode=offline") from error

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, object], step: int) -> None:
        """The same keys as in metrics.jsonl, charted over the training step."""
        super().log_metrics({key: _for_wandb(value) for key, value in metrics.items()}, step)

    @rank_zero_only
    def log_table(self, key: str, columns: list[str], rows: Sequence[Sequence], step: int) -> None:
        """A table whose cells may be pictures (PIL) or None."""
        data = [[wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in rows]
        with _staging(Path(self.save_dir) / "wandb"):
            self.log_metrics({key: wandb.Table(columns=columns, data=data)}, step)

    def finalize(self, status: str) -> None:
        """Called by Lightning at the end of each fit or test, between which the W&B run goes on."""
        self._failed = status != "success"

    def finish(self) -> None:
        """End the W&B run, so that the next job of this process gets a run of its own."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(self._failed))
            self._experiment = None


def _belongs(row: dict, step: int) -> bool:
    return row["step"] <= step and row.get("split") != "after"


def has_api_key() -> bool:
    """Whether W&B would find an API key without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Where W&B keeps the pictures of tables until they are uploaded: with the run, not in the user's home."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _plain(key: str, value) -> object:
    """``value`` as JSON has it: a number, or a histogram as a dict."""
    if isinstance(value, Histogram):
        return {"counts": value.counts, "edges": value.edges}
    value = value.item() if hasattr(value, "item") else value  # a scalar of torch or numpy
    if not math.isfinite(value):
        raise ValueError(f"metric {key} is {value}")
    return value


def _for_wandb(value: object) -> object:
    return wandb.Histogram(np_histogram=(value.counts, value.edges)) if isinstance(value, Histogram) else value
