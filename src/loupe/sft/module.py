"""Supervised training as a LightningModule: one training step = lessons -> negative log-likelihood -> one step.

The loss of a step is the mean over the weighted tokens of all its lessons, on all ranks, of their negative
log-probability in nats; tokens that the policy must never write are banned, as in sampling (``Policy.ban``).
"""

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import BadExample, NonFiniteError, require_int, require_number
from loupe.grpo import distributed
from loupe.grpo.optim import Clock, checked, remembering, warmup_cosine
from loupe.grpo.training import TrainingModule
from loupe.logs.reporter import Reporter
from loupe.rewards.composite import CompositeReward
from loupe.sft.lessons import LessonBatch, logprobs

Material = list[LessonBatch | BadExample]
"""The lessons of a step, in batches that are computed one at a time, and the errors of those that could not be read."""


class SupervisedModule(TrainingModule):
    """Trains a policy on lessons, which a data loader gives step by step, and judges it on held-out questions.

    optimizer: makes the optimizer from parameters. matrix_optimizer: makes another one for the weight matrices in the
    layers, which leaves embeddings, patch projection, norms and biases to the first. total_steps: of the whole run, for
    the cosine learning rate after ``warmup_steps``. settings: the name of the group of these settings, for messages.

    Raises UserError for settings out of range.
    """

    def __init__(
        self,
        policy: Policy,
        rollout: GroupRollout,
        reward: CompositeReward,
        reporter: Reporter,
        total_steps: int,
        optimizer: Callable,
        matrix_optimizer: Callable | None = None,
        warmup_steps: int = 10,
        max_grad_norm: float = 1.0,
        settings: str = "sft.module",
    ):
        super().__init__(policy, rollout, reward, reporter, total_steps)
        self.make_optimizer = checked(f"{settings}.optimizer", optimizer)
        named = f"{settings}.matrix_optimizer"
        self.make_matrix_optimizer = checked(named, matrix_optimizer) if matrix_optimizer else None
        self.warmup_steps = require_int(f"{settings}.warmup_steps", warmup_steps, 0)
        self.max_grad_norm = require_number(f"{settings}.max_grad_norm", max_grad_norm, 0, above=True)
        self.settings = settings

    def configure_optimizers(self):
        named = [(name, p) for name, p in self.policy.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name] if self.make_matrix_optimizer else []
        apart = set(map(id, matrices))
        parts = (
            (self.make_matrix_optimizer, matrices),
            (self.make_optimizer, [p for _, p in named if id(p) not in apart]),
        )
        optimizers = [make(some) for make, some in parts if make and some]  # an adapter has nothing but matrices

        def rate(step: int) -> float:
            return warmup_cosine(step, self.warmup_steps, self.total_steps)

        optimizers = list(map(remembering, optimizers))
        return optimizers, [LambdaLR(optimizer, rate) for optimizer in optimizers]

    def training_step(self, batch: Material, batch_idx: int) -> None:
        clock = Clock()
        lessons, errors = _divided(batch)
        weight = sum(distributed.gather(sum(part.weights.sum().item() for part in lessons)))
        with clock("update"):
            report = self._optimize(lessons, weight)
        errors = distributed.flat(distributed.gather(errors))
        with self.meeting():
            self.skipped.add(errors, batch_is_empty=not weight)
        self.log("loss", report["loss"], prog_bar=True, logger=False, batch_size=1)
        report |= {"data/skipped": len(errors)} | clock.report()
        self.reporter.training(self.loggers, self.global_step, report, [], self.rows)

    def _optimize(self, lessons: list[LessonBatch], weight: float) -> dict[str, float]:
        """Take one step on the lessons of all ranks; returns metrics of the loss. weight: of all their tokens."""
        own = 0.0
        for part in lessons:
            loss = self._nll(part) / weight
            loss.backward()
            own += loss.item()
        report = {"loss": sum(distributed.gather(own)), "grad_norm": self.sum_gradients()}
        if not all(map(math.isfinite, report.values())):
            fix = f"lower {self.settings}.*optimizer.lr, or resume from an earlier checkpoint"
            distributed.stop(NonFiniteError(f"step {self.global_step}: loss {report['loss']}; {fix}"))
        *others, counted = self.all_optimizers()  # Lightning counts the steps of the last one only
        for optimizer in others:
            optimizer.optimizer.step()
        report["learning_rate"] = counted.optimizer.param_groups[0]["lr"]
        counted.step()
        for optimizer in self.all_optimizers():
            optimizer.optimizer.zero_grad()
        torch.clear_autocast_cache()  # it holds low-precision copies of the weights before the step
        for schedule in self.all_schedules():
            schedule.step()
        return report

    def on_validation_epoch_end(self) -> None:
        data, loss, weight = self.trainer.datamodule, 0.0, 0.0
        with self.meeting(later=True):
            for lessons, errors in map(_divided, data.heldout_lessons()):
                self.skipped.add(errors, batch_is_empty=False)
                loss += sum(self._nll(part).item() for part in lessons)
                weight += sum(part.weights.sum().item() for part in lessons)
        if data.val is None:
            self._join_evaluated()
        else:
            super().on_validation_epoch_end()
        if total := sum(distributed.gather(weight)):
            report = {"loss": sum(distributed.gather(loss)) / total}
            self.log("val/loss", report["loss"], prog_bar=True, logger=False)
            self.reporter.validation(self.loggers, self.global_step, report)

    def _nll(self, part: LessonBatch) -> torch.Tensor:
        """The weighted sum of the tokens' negative log-probabilities."""
        logp = logprobs(self.policy, part)
        return -(logp * part.weights.to(logp)).sum()


def _divided(material: Material) -> tuple[list[LessonBatch], list[BadExample]]:
    """The batches of lessons, and the errors."""
    lessons = [part for part in material if isinstance(part, LessonBatch)]
    return lessons, [error for error in material if isinstance(error, BadExample)]
