"""What runs gained, question by question, from the answers that they leave: trajectories.jsonl has every answer to the
held-out questions before and after training.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from loupe.errors import UserError
from loupe.logs.jsonl import TRAJECTORIES, read_rows
from loupe.metrics.intervals import Estimate, flat
from loupe.metrics.summary import paired
from loupe.runs.sweeps import SETTING, job_rows

BASES = {"none": "base, no tool", "zoom": "base, tool prompted"}
"""The untrained policy, asked without and with the tool; by the ``tool`` setting."""
TOOL = f"{SETTING}tool"
METRICS = ("score", "iou")


def answers(run: Path, split: str) -> list[dict]:
    """The answers of a run to the held-out questions; split: "before" or "after" training."""
    return [row for row in read_rows(run / TRAJECTORIES) if row["split"] == split]


def gain(before: list[dict], after: list[dict], metric: str = "score") -> Estimate:
    """By how much a metric rose, question by question, with its 95% interval."""
    return paired(before, after, lambda one, other: other - one, metric=metric)


def gains(before: list[dict], after: list[dict]) -> dict[str, dict[str, dict]]:
    """:func:`gain` of the score, and of the IoU where there are boxes: ``{metric: {part: interval}}``."""
    subsets = sorted({row["subset"] for row in after if row["subset"]})
    parts = {"all": after} | {name: [row for row in after if row["subset"] == name] for name in subsets}
    metrics = [name for name in METRICS if all(row[name] is not None for row in [*before, *after])]
    return {name: {part: asdict(gain(before, rows, name)) for part, rows in parts.items()} for name in metrics}


def trainings(folder: Path) -> list[dict]:
    """The rows of a sweep's finished trainings. Raises UserError if there is none."""
    jobs = [row for row in job_rows(folder) if "best_val_score" in row]
    if not jobs:
        raise UserError(f"{folder}: no finished training of a sweep in this folder")
    return jobs


def identity(job: dict) -> dict:
    """The columns that say which run a row is about: its job and its settings."""
    return {key: value for key, value in job.items() if key == "job" or key.startswith(SETTING)}


def gain_rows(folder: Path) -> list[dict]:
    """One row per finished training of a sweep and base that it can be compared with, the base in column ``over``.

    A run is compared with its own policy before training; and, if a job of the sweep differs only in ``tool``, with
    that job's policy before training. Raises UserError if there is no finished training.
    """
    jobs = trainings(folder)
    after = {job["job"]: answers(folder / job["job"], "after") for job in jobs}
    return [
        identity(job)
        | {"over": name}
        | flat({"gain": gains(answers(folder / base["job"], "before"), after[job["job"]])})
        for tool, name in BASES.items()
        for job in jobs
        if (base := _base(job, jobs, tool))
    ]


def _base(job: dict, jobs: list[dict], tool: str) -> dict | None:
    """The job itself if it has this tool, or the one that differs from it only in having it."""
    wanted = _settings(job) | {TOOL: tool}
    return next((other for other in jobs if _settings(other) == wanted), None)


def _settings(job: dict) -> dict:
    """A job's settings; without the tool given, it is the default of conf/train.yaml."""
    return {TOOL: "zoom"} | {key: value for key, value in job.items() if key.startswith(SETTING)}
