"""The names of what a job leaves in its folder."""

from enum import StrEnum

from loupe.logs import jsonl


class RunFile(StrEnum):
    """The files and folders that a run leaves, besides its log and what Hydra writes."""

    CONFIG = "config.yaml"  # resolved
    PROVENANCE = "provenance.json"  # commit, versions, command
    PARTS = "parts.jsonl"  # each time the run was resumed: from which step, by which command, what it changed
    PATCH = "diff.patch"  # uncommitted changes
    METRICS = jsonl.METRICS
    TIMING = jsonl.TIMING
    TRAJECTORIES = jsonl.TRAJECTORIES
    WANDB = "wandb"
    CHECKPOINTS = "checkpoints"
    MODEL = "model"
    ADVANTAGES = "advantages.png"
    LEARNING = "learning.png"
    EXAMPLE = "example.png"
    SUMMARY = "summary.json"
    SKILLS = "skills.json"  # of a pretrained base


LAST = "last.ckpt"  # the checkpoint to resume from
BEST = "best.ckpt"  # the one with the best validation score
SETTINGS, ANSWERS = "settings.json", "answers.jsonl"  # what an evaluation resumes from
