"""What runs gained, question by question, from the answers that they leave: trajectories.jsonl has every answer to the
held-out questions before and after training.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loupe.errors import UserError
from loupe.logs.rows import TRAJECTORIES, read_rows
from loupe.metrics.intervals import Estimate, flat, over_runs
from loupe.metrics.summary import by_part, paired, question_scores
from loupe.runs.config import SAME_JOB
from loupe.runs.sweeps import SETTING, job_rows, settings_of

BASES = {"none": "base, no tool", "zoom": "base, tool prompted"}  # the untrained policy, by the ``tool`` setting
TOOL = f"{SETTING}tool"
SAME_CONDITION = {f"{SETTING}{key}" for key in ("seed", *SAME_JOB)}
"""Columns that do not distinguish conditions."""


def answers(run: Path, split: str) -> list[dict]:
    """The answers of a run to the held-out questions; split: "before" or "after" training."""
    return [row for row in read_rows(run / TRAJECTORIES) if row["split"] == split]


def gain(before: list[dict], after: list[dict], metric: str = "score") -> Estimate:
    """By how much a metric rose, question by question, with its 95% interval."""
    return paired(before, after, lambda one, other: other - one, metric=metric)


def gains(before: list[dict], after: list[dict]) -> dict[str, dict[str, dict]]:
    """:func:`gain` of the score, and of the IoU where there are boxes: ``{metric: {part: interval}}``."""
    metrics = [name for name in ("score", "iou") if all(row[name] is not None for row in [*before, *after])]
    parts = by_part(after, lambda row: row["subset"])
    return {name: {part: asdict(gain(before, rows, name)) for part, rows in parts.items()} for name in metrics}


def trainings(folder: Path) -> list[dict]:
    """The rows of a sweep's finished trainings. Raises UserError if there is none."""
    jobs = [row for row in job_rows(folder) if "best_val_score" in row]
    if not jobs:
        raise UserError(f"{folder}: no finished training of a sweep in this folder")
    return jobs


def identity(job: dict) -> dict:
    """The columns that say which run a row is about: its job and its settings."""
    return {"job": job["job"]} | settings_of(job)


def gain_rows(folder: Path) -> list[dict]:
    """One row per finished training of a sweep and base that it can be compared with, the base in column ``over``.

    A run is compared with its own policy before training; and, if a job of the sweep differs only in ``tool``, with
    that job's policy before training. Raises UserError if there is no finished training.
    """
    jobs = trainings(folder)
    settings = {job["job"]: {TOOL: "zoom"} | settings_of(job) for job in jobs}  # zoom: the default of conf/train.yaml
    rows = []
    for tool, over in BASES.items():
        for job in jobs:
            name = job["job"]
            wanted = settings[name] | {TOOL: tool}
            if base := next((other for other in settings if settings[other] == wanted), None):
                gained = gains(answers(folder / base, "before"), answers(folder / name, "after"))
                rows.append(identity(job) | {"over": over} | flat({"gain": gained}))
    return rows


def seed_rows(folder: Path) -> list[dict]:
    """One row per condition of a sweep, which is all settings but the seed and the number of threads: its ``runs``, and
    the score of each part over them (:func:`over_runs`).

    Raises UserError if runs of one condition have answered different questions.
    """
    conditions: dict[tuple, list[dict]] = {}
    for job in trainings(folder):
        settings = {key: value for key, value in settings_of(job).items() if key not in SAME_CONDITION}
        conditions.setdefault(tuple(sorted(settings.items())), []).append(job)
    rows = []
    for condition, jobs in conditions.items():
        answered = {job["job"]: answers(folder / job["job"], "after") for job in jobs}
        scores = {job: question_scores(found) for job, found in answered.items()}
        first, *others = scores
        for other in others:
            if scores[other].keys() != scores[first].keys():
                raise UserError(f"{first} and {other} differ only in their seed, but have answered different questions")
        parts = by_part(answered[first], lambda row: row["subset"])
        reached = {part: asdict(_over_seeds(list(scores.values()), members)) for part, members in parts.items()}
        rows.append(dict(condition) | {"runs": len(jobs)} | flat({"score": reached}))
    return rows


def _over_seeds(scores: Sequence[dict[str, float]], members: list[dict]) -> Estimate:
    """The score over runs on the questions of ``members``, one run's answers to a part."""
    questions = {row["id"]: row for row in members}
    strata = [row["subset"] for row in questions.values()]
    clusters = [row["cluster"] or key for key, row in questions.items()]
    return over_runs([[found[key] for key in questions] for found in scores], strata, clusters)
