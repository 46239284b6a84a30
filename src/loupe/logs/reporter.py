"""What a run tells: the same flat keys go to every logger; now and then some trajectories, with their crops drawn."""

from __future__ import annotations

from loupe.errors import require_int
from loupe.logs.wandb_logger import JsonlLogger, RunWandbLogger
from loupe.metrics import training as metrics
from loupe.pictures import draw_zoom
from loupe.records import OK, Group

COLUMNS = ["step", "id", "question", "type", "answer", "reward", "advantage", "text", "picture"]


class Reporter:
    """trajectories_every: steps between two records of trajectories.

    groups: how many groups each records, those first whose rewards differ most.
    """

    def __init__(self, trajectories_every: int = 25, groups: int = 4):
        self.trajectories_every = require_int("report.trajectories_every", trajectories_every, 1)
        self.groups = require_int("report.groups", groups, 1)

    def training(self, loggers: list, step: int, report: dict, groups: list[Group]) -> None:
        """Log one step (``step`` counts finished ones)."""
        self._metrics(loggers, step, report)
        if step % self.trajectories_every == 1 or self.trajectories_every == 1:
            telling = sorted(groups, key=_spread, reverse=True)  # best and worst of a question side by side
            self.trajectories(loggers, step, "train", telling[: self.groups])

    def validation(self, loggers: list, step: int, report: dict) -> None:
        """Log one validation under ``val/``."""
        self._metrics(loggers, step, {f"val/{key}": value for key, value in report.items()})

    def trajectories(self, loggers: list, step: int, split: str, groups: list[Group]) -> None:
        """Record all trajectories of these groups in full; the table has those whose pictures are at hand."""
        pairs = [(trajectory, group) for group in groups for trajectory in group.trajectories]
        at_hand = [(trajectory, group) for trajectory, group in pairs if group.prompt]
        for logger in loggers:
            if isinstance(logger, JsonlLogger):
                logger.log_trajectories([metrics.trajectory_row(t, g.example, step, split) for t, g in pairs])
            elif isinstance(logger, RunWandbLogger) and at_hand:
                logger.log_table("trajectories", COLUMNS, [_table_row(t, g, step) for t, g in at_hand], step)

    def _metrics(self, loggers: list, step: int, report: dict) -> None:
        for logger in loggers:
            logger.log_metrics(report, step)


def _spread(group: Group) -> float:
    rewards = [trajectory.reward for trajectory in group.trajectories]
    return max(rewards) - min(rewards)


def _table_row(trajectory, group: Group, step: int) -> list:
    picture = group.prompt.picture
    executed = [event for event in trajectory.events if event.status == OK]
    drawn = draw_zoom(picture, executed[0].keypoint, executed[0].box) if executed else None
    return [
        step,
        group.example.id,
        group.example.question,
        trajectory.type.value,
        trajectory.answer,
        trajectory.reward,
        trajectory.advantage,
        trajectory.text,
        drawn,
    ]
