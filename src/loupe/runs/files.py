"""What a job leaves in its folder: the names of the files, and reading those that record its settings and results."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import yaml
from omegaconf.errors import OmegaConfBaseException

from loupe.errors import UserError
from loupe.logs import rows

Content = TypeVar("Content")


class RunFile(StrEnum):
    """The files and folders that a run leaves, besides its log and what Hydra writes.

    They are set aside in this order: without its checkpoints, half a run cannot be resumed by mistake.
    """

    CHECKPOINTS = "checkpoints"
    CONFIG = "config.yaml"  # resolved
    PROVENANCE = "provenance.json"  # commit, versions, command
    PARTS = "parts.jsonl"  # each time the run was resumed: from which step, by which command, what it changed
    PATCH = "diff.patch"  # uncommitted changes
    PART_PATCH = "diff-*.patch"  # those of each time it was resumed
    METRICS = rows.METRICS
    TIMING = rows.TIMING
    TRAJECTORIES = rows.TRAJECTORIES
    PICTURES = rows.PICTURES  # of the trajectories
    REPORT = "report.html"
    WANDB = "wandb"
    TENSORBOARD = "tensorboard"
    CSV = "csv"
    MODEL = "model"
    SNAPSHOTS = "snapshots"  # the model at chosen steps
    ADVANTAGES = "advantages.png"
    LEARNING = "learning.png"
    EXAMPLE = "example.png"
    SUMMARY = "summary.json"
    SKILLS = "skills.json"  # of a pretrained base


LAST = "last.ckpt"  # the checkpoint to resume from
PREVIOUS = "previous.ckpt"  # the last but one, in case the last is damaged
BEST = "best.ckpt"  # the one with the best validation score
SETTINGS, ANSWERS = "settings.json", "answers.jsonl"  # what an evaluation resumes from
EVALUATION = "evaluation.json"  # what a finished one leaves


def parsed(path: Path, parse: Callable[[str], Content]) -> Content:
    """What ``parse`` makes of a file's text. Raises UserError, naming the file, if it is missing or damaged."""
    try:
        return parse(path.read_text())
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); restore it from a copy") from error


def read_json(path: Path) -> dict:
    """The content of one of the job's json files. Raises UserError, naming the file, if it is missing or damaged."""
    return parsed(path, lambda text: dict(json.loads(text)))
