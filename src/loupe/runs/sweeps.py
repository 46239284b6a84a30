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
from hashlib import sha256
from pathlib import Path

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loupe.metrics.intervals import Estimate, flat, without_ends
from loupe.runs.folder import WITHOUT_EFFECT
from loupe.runs.text import in_columns

LOG = logging.getLogger(__name__)
FIGURES = ("summary.json", "evaluation.json")
"""What a finished job leaves, by entry: training, evaluation."""
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


def short_hash(text: str) -> str:
    """Eight letters and digits that stand for ``text``."""
    return sha256(text.encode()).hexdigest()[:8]


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
