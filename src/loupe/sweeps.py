"""The results of a multirun in one tidy table: ``results.csv`` in its folder, a row a job."""

from __future__ import annotations

import csv
import json
import logging
import re
from pathlib import Path

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loupe.intervals import Estimate

LOG = logging.getLogger("loupe")
FIGURES = ("summary.json", "evaluation.json")
"""What a finished job leaves, by entry: training, evaluation."""
NO_FIGURES = {"settings", "seed"}
SHOWN = re.compile(r"after/(score|zoom_rate)\w*|parts/all/zoom_rate/greedy|parts/\w+/score/greedy")
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


def collect(folder: Path) -> list[dict]:
    """A row for each finished job below ``folder``, written to its results.csv."""
    jobs = sorted({path.parent for name in FIGURES for path in folder.glob(f"*/{name}")}, key=_natural)
    rows = [job_row(job) for job in jobs]
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        partial = folder / "results.csv.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(folder / "results.csv")
    return rows


def job_row(job: Path) -> dict:
    """Job, seed, commit, every override and every figure of one job's folder."""
    figures = json.loads(next(job / name for name in FIGURES if (job / name).exists()).read_text())
    overrides = OmegaConf.load(job / ".hydra" / "overrides.yaml")
    row = {"job": job.name, "seed": OmegaConf.load(job / "config.yaml").seed}
    row |= dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    row["commit"] = json.loads((job / "provenance.json").read_text())["commit"]
    return row | flat({key: value for key, value in figures.items() if key not in NO_FIGURES})


def flat(figures: dict, prefix: str = "") -> dict:
    """Nested figures under keys joined by slashes; an interval as its mean, ``_low``, ``_high`` and ``_n``."""
    row = {}
    for key, value in figures.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and set(value) == set(Estimate.__dataclass_fields__):
            row |= {name: value["mean"]} | {f"{name}_{end}": value[end] for end in ("low", "high", "n")}
        elif isinstance(value, dict):
            row |= flat(value, f"{name}/")
        else:
            row[name] = value
    return row


def table(rows: list[dict]) -> str:
    """What differs between the jobs, and their main figures, as text."""
    settings = [key for key in rows[0] if key not in ("commit", "job") and "/" not in key]
    differing = [key for key in settings if len({row.get(key) for row in rows}) > 1]
    scores = [key for key in dict.fromkeys(key for row in rows for key in row) if SHOWN.fullmatch(key)]
    lines = [["job", *differing, *(key.removeprefix("parts/") for key in scores)]]
    for row in rows:
        lines.append([row["job"], *(str(row.get(key, "-")) for key in differing), *(_cell(row, key) for key in scores)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _cell(row: dict, key: str) -> str:
    value = row.get(key)
    if value in (None, ""):
        return "-"
    if (low := row.get(f"{key}_low")) is not None:
        return str(Estimate(value, low, row[f"{key}_high"], row[f"{key}_n"]))
    return f"{value:.3f}"


def _natural(path: Path) -> tuple:
    return (0, int(path.name), "") if path.name.isdigit() else (1, 0, path.name)
