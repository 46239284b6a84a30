"""Scoring rollouts, and judging held-out questions in Lightning's validation and test loops."""

from functools import cached_property, partial
from pathlib import Path

import lightning

from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.grpo import distributed
from loupe.grpo.skipped import SkippedRows
from loupe.logs.pictures import PictureStore, share
from loupe.logs.reporter import Reporter
from loupe.logs.rows import PICTURES
from loupe.metrics.rows import Rows, answer_rows
from loupe.metrics.summary import Summary
from loupe.metrics.training import rollout_metrics, unforced
from loupe.records import Example, Group
from loupe.rewards.composite import CompositeReward


class ScoringModule(lightning.LightningModule):
    """A policy with its rollout and reward: everything that judging needs, and training as well.

    Held-out questions get one greedy trajectory each. Ranks meet only after the last of their batches, because they may
    have different numbers of them.
    """

    def __init__(self, policy: Policy, rollout: GroupRollout, reward: CompositeReward, reporter: Reporter):
        super().__init__()
        self.policy = policy
        self.rollout = rollout
        self.reward = reward
        self.reporter = reporter
        self.skipped = SkippedRows()
        self.meeting = distributed.Meeting()
        self.evaluated: list[Group] = []
        self.before: Summary = {}  # held-out metrics before training; a resumed run reports them too

    def assign_rewards(self, groups: list[Group], step: int) -> None:
        """Fill in terms and reward of every trajectory."""
        for group in groups:
            self.reward.score_group(group, step)

    def rows(self, groups: list[Group], condition: str) -> Rows:
        """The answer rows of scored groups."""
        return answer_rows(groups, condition, self.policy.factor, self.policy.merge)

    def metrics(self, groups: list[Group], condition: str) -> dict[str, float]:
        """:func:`rollout_metrics` of scored groups."""
        rows = self.rows(unforced(groups), condition)
        return rollout_metrics(groups, rows, self.rollout.dialogue.tools.tools)

    @cached_property
    def pictures(self) -> PictureStore:
        """Of what is recorded, in the folder of the run."""
        return PictureStore(Path(self.trainer.default_root_dir) / PICTURES, self.reporter.megabytes)

    def recorded(self, groups: list[Group], condition: str, split: str) -> Rows:
        """The answer rows of groups that are recorded under ``split``; the main rank keeps their pictures."""
        rows = self.rows(groups, condition)
        if not distributed.is_main():
            return rows
        done = (self.global_step + self.reporter.trajectories_every) / max(1, self.trainer.max_steps)
        return self.pictures.with_pictures(rows, groups, self.rollout, share(split, done))

    def on_validation_epoch_start(self) -> None:
        self.evaluated = []
        self.rollout.decoder.refresh()  # a checkpoint may have been loaded, or another kind of training taken steps

    def validation_step(self, batch: list[Example], batch_idx: int = 0) -> None:
        with self.meeting(later=True):
            groups, errors = self.rollout(batch, 1, self.global_step, greedy=True)
            self.assign_rewards(groups, self.global_step)
            self.skipped.add(errors, batch_is_empty=bool(errors) and not groups)
            self.evaluated += [group.light() for group in groups]

    def on_validation_epoch_end(self) -> None:
        self._join_evaluated()
        with self.meeting():
            report = self.metrics(self.evaluated, "greedy")
        self.log("val/score", report["score/all"], prog_bar=True, logger=False)
        self.reporter.validation(self.loggers, self.global_step, report)
        recorded = partial(self.recorded, split="val")
        self.reporter.follow(self.loggers, self.global_step, self.evaluated, recorded)

    def _join_evaluated(self) -> None:
        """Give every rank the answers to all questions."""
        self.meeting.meet()
        self.evaluated = distributed.interleaved(distributed.gather_groups(self.evaluated))
        self.skipped.join()

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = _join_evaluated
