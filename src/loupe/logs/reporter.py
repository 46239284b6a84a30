"""What a run reports: the same flat keys to every logger, and at intervals some trajectories with their pictures."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from PIL import Image

from loupe.errors import require_int, require_number
from loupe.logs.jsonl import FolderLogger, JsonlLogger
from loupe.logs.wandb_logger import RunWandbLogger
from loupe.metrics.rows import Rows
from loupe.metrics.training import Histogram
from loupe.pictures import draw_calls, side_by_side
from loupe.records import Group, Prompt, Trajectory

FROM_ROW = ("id", "subset", "question", "references", "type", "answer", "score", "reward")
MOST_FOLLOWED = 100
COLUMNS = ["step", *FROM_ROW, "advantage", "text", "picture", "shown"]  # of W&B's table
Shown = Callable[[Trajectory, Prompt], list[Image.Image]]  # the pictures that calls showed (``Environment.shown``)
RowsOf = Callable[[list[Group], str], Rows]  # from groups and a condition to the answer row of every trajectory


class Reporter:
    """trajectories_every: steps between two records of trajectories. groups: the number of groups in each; those whose
    rewards differ most come first. followed: the number of validation questions that are recorded at every validation.
    megabytes: of pictures that are kept with them (``logs.pictures``). shown: what W&B's table takes the results of
    calls from; without it, it has none.
    """

    def __init__(
        self,
        trajectories_every: int = 25,
        groups: int = 4,
        followed: int = 4,
        megabytes: float = 20,
        shown: Shown | None = None,
    ):
        self.trajectories_every = require_int("report.trajectories_every", trajectories_every, 1)
        self.groups = require_int("report.groups", groups, 1)
        self.followed = require_int("report.followed", followed, 0, MOST_FOLLOWED)
        self.megabytes = require_number("report.megabytes", megabytes, 0)
        self.shown: Shown = shown or (lambda *_: [])

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

    def follow(self, loggers: list, step: int, groups: list[Group], rows_of: RowsOf) -> None:
        """Record the answers to the validation questions that are followed, the same ones at every validation."""
        if self.followed:
            self.trajectories(loggers, step, "val", in_turns(groups)[: self.followed], rows_of)

    def trajectories(self, loggers: list, step: int, split: str, groups: list[Group], rows_of: RowsOf) -> None:
        """Record all trajectories of these groups; the table of W&B has those whose pictures are at hand.

        split: "train", "val", or "before" or "after" for the held-out questions.
        """
        rows = rows_of(groups, "sampled" if split == "train" else "greedy")
        pairs = [(trajectory, group) for group in groups for trajectory in group.trajectories]
        told = [(row, *pair) for row, pair in zip(rows, pairs, strict=True)]
        pictured = [(row, t, group) for row, t, group in told if group.prompt.picture]
        for logger in loggers:
            if isinstance(logger, JsonlLogger):
                made = [{"step": step, "split": split} | row | {"advantage": t.advantage} for row, t, _ in told]
                logger.log_trajectories(made)
            elif isinstance(logger, RunWandbLogger) and pictured:
                cells = (self._cells(step, row, t, group) for row, t, group in pictured)  # drawn if W&B is on
                logger.log_rows("trajectories", COLUMNS, cells, step)

    def _cells(self, step: int, row: dict, trajectory: Trajectory, group: Group) -> list:
        """A row of W&B's table: the picture with keypoints and boxes drawn, and the results of calls as shown."""
        told = row | {"references": " | ".join(dict.fromkeys(row["references"])), "type": str(row["type"])}
        drawn = draw_calls(group.prompt.require_picture(), trajectory.events)
        shown = self.shown(trajectory, group.prompt)
        pictures = [drawn, side_by_side(shown) if shown else None]
        return [step, *(told[name] for name in FROM_ROW), trajectory.advantage, trajectory.text, *pictures]

    def _metrics(self, loggers: list, step: int, report: dict) -> None:
        """Log under the same keys everywhere. Loggers other than the project's own take numbers only."""
        numbers = {key: value for key, value in report.items() if not isinstance(value, Histogram)}
        for logger in loggers:
            logger.log_metrics(report if isinstance(logger, FolderLogger) else numbers, step)


def in_turns(groups: list[Group]) -> list[Group]:
    """The first question of each subset, then the second one of each, and so on. Those whose picture is not on this
    rank come last.
    """
    earlier: Counter[str | None] = Counter()

    def turn(group: Group) -> tuple[bool, int]:
        earlier[group.example.subset] += 1
        return not group.example.image, earlier[group.example.subset]

    return sorted(groups, key=turn)
