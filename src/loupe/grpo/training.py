"""What every kind of training shares: its clock, its last step, and what a checkpoint holds."""

import time

import torch
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import require_int
from loupe.grpo import distributed
from loupe.grpo.optim import keep_settings
from loupe.grpo.scoring import ScoringModule
from loupe.grpo.sharding import Shards
from loupe.logs.reporter import Reporter
from loupe.rewards.composite import CompositeReward


class TrainingModule(ScoringModule):
    """A policy that is trained by manual optimization. total_steps: ``trainer.max_steps``."""

    max_grad_norm: float
    shards: Shards | None = None  # of the weights, while trainer=zero trains them

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

    def sum_gradients(self) -> float:
        """Sum the gradients of all ranks and clip them; returns their norm before that. All ranks call this."""
        trained: list[torch.Tensor] = [p for p in self.policy.parameters() if p.requires_grad]
        if self.shards:
            trained = self.shards.sum_gradients()
        else:
            distributed.sum_gradients(trained)
        norm = get_total_norm(p.grad for p in trained if p.grad is not None)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        clip_grads_with_norm_(trained, self.max_grad_norm, norm)
        return norm.item()

    def on_fit_start(self) -> None:
        self.policy.train()
        self.rollout.decoder.refresh()  # a checkpoint may have been loaded
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
        checkpoint |= {"before": self.before, "seconds": self.seconds, "skipped": self.skipped.state()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.earlier_seconds = checkpoint["seconds"]
        self.skipped.restore(checkpoint.get("skipped"))
