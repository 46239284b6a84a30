"""Sweeps (multiruns): a folder for each job, named by a hash of its overrides, so that a sweep that died goes on with
the jobs that it lacks; and all results in one tidy table, ``results.csv``, a row a job.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shlex
from functools import reduce
from hashlib import sha256
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loupe.metrics.intervals import Estimate, flat, without_ends
from loupe.runs.columns import in_columns

LOG = logging.getLogger("loupe")
FIGURES = ("summary.json", "evaluation.json")
"""What a finished job leaves, by entry: training, evaluation."""
WITHOUT_EFFECT = ("paths.output_dir", "resume", "debug", "logger", "logger.mode", "trainer.enable_progress_bar")
"""Settings that do not change a job's figures."""
SAME_JOB = (*WITHOUT_EFFECT, "threads")
"""Settings that do not tell jobs apart. The number of threads decides in which order is summed, and so the last digits;
but a job that goes on with another number is still the same job.
"""
NO_FIGURES = {"settings", "seed"}
SHOWN = re.compile(r"after/(score|zoom_rate|iou)\w*|parts/all/zoom_rate/greedy|parts/\w+/score/greedy")
"""The figures in the printed table; results.csv holds all."""


class Results(Callback):
    """Hydra's callback: collects after every job, so that a sweep that dies has its table too; prints at the end."""

    def on_job_end(self, config: DictConfig, job_return: object, **kwargs: object) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            collect(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        folder = Path(config.hydra.sweep.dir)
        if rows := collect(folder):
            LOG.info("\n%s\n%d jobs; every figure is in %s", table(rows), len(rows), folder / "results.csv")


def in_sweep() -> bool:
    """Whether this is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_name() -> str | None:
    """The name of the sweep's folder; None outside of a sweep."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None


def short_hash(text: str) -> str:
    """Eight letters and digits that stand for ``text``."""
    return sha256(text.encode()).hexdigest()[:8]


def take_up(cfg: DictConfig, folder: Path) -> dict | None:
    """What an earlier sweep left of this job: its summary if it was finished; what was not is resumed.

    A job whose configuration has changed since (in the files, for the overrides are the same) begins anew.
    """
    if not in_sweep() or not (folder / "config.yaml").exists():
        return None
    if _telling(OmegaConf.load(folder / "config.yaml")) != _telling(cfg):
        LOG.warning("%s: its settings are others than when it was run; it begins anew", folder)
        return None
    if (folder / "summary.json").exists():
        LOG.info("%s: finished before", folder)
        return json.loads((folder / "summary.json").read_text())
    if (folder / "checkpoints" / "last.ckpt").exists():
        cfg.resume = str(folder)
    return None


def _telling(cfg: DictConfig) -> dict:
    """The settings that tell jobs apart; a sweep's folder may have been moved."""
    text = json.dumps(OmegaConf.to_container(cfg, resolve=True))
    settings = json.loads(text.replace(json.dumps(cfg.paths.output_dir)[1:-1], ""))
    for key in SAME_JOB:
        *groups, name = key.split(".")
        reduce(lambda node, group: node.get(group) or {}, groups, settings).pop(name, None)
    return settings


def collect(folder: Path) -> list[dict]:
    """A row for each finished job below ``folder``, written to its results.csv."""
    rows = job_rows(folder)
    if rows:
        settings = (key for row in rows for key in _settings(row))  # those of all jobs before any figure
        columns = list(dict.fromkeys(["job", *settings, *(key for row in rows for key in row)]))
        partial = folder / f"results.csv.{os.getpid()}"  # jobs that run side by side write it, too
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(folder / "results.csv")
    return rows


def job_rows(folder: Path) -> list[dict]:
    """A row for each finished job below ``folder``, in the order of their settings."""
    found = {path.parent for name in FIGURES for path in folder.glob(f"*/{name}")}
    jobs = [job for job in found if (job / ".hydra").is_dir()]  # and not what was set aside
    return sorted(map(job_row, jobs), key=lambda row: [_natural(str(row[key])) for key in _settings(row)])


def job_row(job: Path) -> dict:
    """Every override, seed, commit, command and figure of one job's folder.

    The command is a sweep of this one job, since an experiment's own sweep is taken for what is not given.
    """
    figures = json.loads(next(job / name for name in FIGURES if (job / name).exists()).read_text())
    provenance = json.loads((job / "provenance.json").read_text())  # and not .hydra: that may be of a later sweep
    python, entry, *overrides = shlex.split(provenance["command"])
    given = {o: o.lstrip("+~").partition("=")[::2] for o in overrides}
    given = {override: pair for override, pair in given.items() if pair[0] not in WITHOUT_EFFECT}
    row = {"job": job.name} | dict(given.values())
    row["seed"] = OmegaConf.load(job / "config.yaml").seed
    row["commit"] = figures.get("settings", provenance)["commit"]  # of an evaluation the one that it was begun with
    if provenance.get("uncommitted", (job / "diff.patch").exists()):
        row["commit"] += "-dirty"
    row["command"] = shlex.join([python, entry, "-m", *given])
    return row | flat({key: value for key, value in figures.items() if key not in NO_FIGURES})


def table(rows: list[dict]) -> str:
    """What differs between the jobs, and their main figures, as text."""
    settings = dict.fromkeys(key for row in rows for key in _settings(row))
    differing = [key for key in settings if len({str(row.get(key)) for row in rows}) > 1]
    keys = dict.fromkeys(key for row in rows for key in row)
    scores = [key for key in without_ends(keys) if SHOWN.fullmatch(key)]
    lines = [["job", *differing, *(key.removeprefix("parts/") for key in scores)]]
    for row in rows:
        lines.append([row["job"], *(str(row.get(key, "-")) for key in differing), *(_cell(row, key) for key in scores)])
    return in_columns(lines)


def _cell(row: dict, key: str) -> str:
    value = row.get(key)
    if value in (None, ""):
        return "-"
    if (low := row.get(f"{key}/low")) is not None:
        return str(Estimate(value, low, row[f"{key}/high"], row[f"{key}/n"]))
    return f"{value:.3f}"


def _settings(row: dict) -> list[str]:
    """The keys of a row's overrides and seed."""
    keys = list(row)
    return keys[1 : keys.index("commit")]


def _natural(text: str) -> tuple:
    """Numbers by their size, before all words."""
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
