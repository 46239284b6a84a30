"""What every kind of training shares: its clock, its last step, and what a checkpoint holds."""

import time

from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import require_int
from loupe.grpo.optim import keep_settings
from loupe.grpo.scoring import ScoringModule
from loupe.logs.reporter import Reporter
from loupe.rewards.composite import CompositeReward


class TrainingModule(ScoringModule):
    """A policy that is trained by manual optimization. total_steps: ``trainer.max_steps``."""

    def __init__(
        self, policy: Policy, rollout: GroupRollout, reward: CompositeReward, reporter: Reporter, total_steps: int
    ):
        super().__init__(policy, rollout, reward, reporter)
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds what is trained, not the frozen base
        self.total_steps = require_int("trainer.max_steps", total_steps, 1)
        self.earlier_seconds = 0.0  # of training, before the run was resumed
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of training so far, including the part before a resume."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def all_optimizers(self) -> list:
        """Those of Lightning, which gives a single one by itself."""
        return made if isinstance(made := self.optimizers(), list) else [made]

    def all_schedules(self) -> list:
        """The learning-rate schedule of each optimizer."""
        return made if isinstance(made := self.lr_schedulers(), list) else [made]

    def on_fit_start(self) -> None:
        self.policy.train()
        self.started = time.perf_counter()

    def on_train_start(self) -> None:
        for optimizer, schedule in zip(self.all_optimizers(), self.all_schedules(), strict=True):
            keep_settings(optimizer.optimizer, schedule)

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.global_step == self.total_steps:  # Lightning then validates the last step too, whatever the interval
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        trained = {f"policy.{name}" for name, p in self.policy.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint |= {"before": self.before, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.earlier_seconds = checkpoint["seconds"]
