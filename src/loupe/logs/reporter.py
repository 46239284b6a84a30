"""What a run reports: the same flat keys to every logger, and at intervals some trajectories with their crops drawn."""

from collections.abc import Callable

import numpy as np

from loupe.errors import require_int
from loupe.logs.jsonl import JsonlLogger
from loupe.logs.wandb_logger import RunWandbLogger
from loupe.metrics.rows import Rows
from loupe.pictures import draw_call
from loupe.records import Group, Trajectory

COLUMNS = ["step", "id", "question", "type", "answer", "reward", "advantage", "text", "picture"]  # of W&B's table
RowsOf = Callable[[list[Group], str], Rows]  # from groups and a condition to the answer row of every trajectory


class Reporter:
    """trajectories_every: steps between two records of trajectories. groups: the number of groups in each; those whose
    rewards differ most come first.
    """

    def __init__(self, trajectories_every: int = 25, groups: int = 4):
        self.trajectories_every = require_int("report.trajectories_every", trajectories_every, 1)
        self.groups = require_int("report.groups", groups, 1)

    def training(self, loggers: list, step: int, report: dict, groups: list[Group], rows_of: RowsOf) -> None:
        """Log one training step. ``step`` counts finished steps."""
        self._metrics(loggers, step, report)
        if step % self.trajectories_every == 1 or self.trajectories_every == 1:
            # The best and the worst answer to a question side by side tell most.
            ranked = sorted(groups, key=lambda group: np.ptp([t.reward for t in group.trajectories]), reverse=True)
            self.trajectories(loggers, step, "train", ranked[: self.groups], rows_of)

    def validation(self, loggers: list, step: int, report: dict) -> None:
        """Log one validation under ``val/``."""
        self._metrics(loggers, step, {f"val/{key}": value for key, value in report.items()})

    def trajectories(self, loggers: list, step: int, split: str, groups: list[Group], rows_of: RowsOf) -> None:
        """Record all trajectories of these groups; the table of W&B has those whose pictures are at hand.

        split: "train", or "before" or "after" for the held-out questions.
        """
        pairs = [(trajectory, group) for group in groups for trajectory in group.trajectories]
        pictured = [(trajectory, group) for trajectory, group in pairs if group.prompt.picture]
        for logger in loggers:
            if isinstance(logger, JsonlLogger):
                rows = zip(rows_of(groups, "sampled" if split == "train" else "greedy"), pairs, strict=True)
                made = [{"step": step, "split": split} | row | {"advantage": t.advantage} for row, (t, _) in rows]
                logger.log_trajectories(made)
            elif isinstance(logger, RunWandbLogger) and pictured:
                logger.log_table("trajectories", COLUMNS, [_table_row(t, g, step) for t, g in pictured], step)

    def _metrics(self, loggers: list, step: int, report: dict) -> None:
        for logger in loggers:
            logger.log_metrics(report, step)


def _table_row(trajectory: Trajectory, group: Group, step: int) -> list:
    shown, example = [event for event in trajectory.events if event.box or event.keypoint], group.example
    drawn = draw_call(group.prompt.require_picture(), shown[0].keypoint, shown[0].box) if shown else None
    scored = [trajectory.type.value, trajectory.answer, trajectory.reward, trajectory.advantage]
    return [step, example.id, example.question, *scored, trajectory.text, drawn]
