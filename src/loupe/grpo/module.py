"""The training loop as a LightningModule: one training step = prompts -> rollout -> rewards -> advantages -> step(s).

GRPO (arXiv 2402.03300, as used in arXiv 2506.14821) with manual optimization. Lightning handles devices, checkpoints,
the validation schedule and resuming. ``global_step`` counts rollout batches, also with several inner epochs. With
several processes, each samples and differentiates its own groups; denominators, sums and reports cover all of them.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random

import torch
from torch.optim.lr_scheduler import LambdaLR

from loupe.engine.decoder import leaves_a_thought
from loupe.engine.policy import Policy
from loupe.engine.rollout import WINNING, GroupRollout
from loupe.errors import NonFiniteError, UserError, require_choice, require_int, require_number
from loupe.grpo import distributed
from loupe.grpo.advantages import Estimator, checked_estimator, group_std
from loupe.grpo.draws import Draws
from loupe.grpo.losses import GRPO, mean_report
from loupe.grpo.objective import Objective
from loupe.grpo.optim import Clock, checked, remembering, warmup_cosine
from loupe.grpo.training import TrainingModule
from loupe.logs.reporter import Reporter
from loupe.metrics.training import advantage_metrics, forced_share
from loupe.records import Example, Group
from loupe.rewards.composite import CompositeReward

NON_FINITE = "nonfinite_batch*.pt"
"""The batches that a run saves when a loss is not finite, one file per rank."""


class GRPOModule(TrainingModule):
    """Group rollout and the GRPO update.

    optimizer: makes the optimizer from parameters. total_steps: rollout batches of the whole run, for the cosine
    learning rate after ``warmup_steps``. group_size: trajectories per question. inner_epochs: optimizer steps on each
    rollout batch. microbatch_tokens: padded tokens of prefixes and branches computed at a time; bounds memory.
    advantage: see ``advantages``. shuffle_advantages: reshuffle the advantages within each group, a control in which
    nothing can be learned. old_logprobs: the denominators of the importance ratio, either as the "rollout" recorded
    them, or recomputed before the "update" (for low precision, where the two differ by rounding). importance_cap: the
    largest weight that corrects for that difference (``losses.importance_weights``), or None for no correction.
    max_draws: batches that a step may sample until it has a whole one of groups whose rewards differ (dynamic sampling,
    arXiv 2503.14476 §3.2, there without a bound); 1 samples the step's own batch alone. folder: where a batch with a
    non-finite loss is saved.
    """

    def __init__(
        self,
        policy: Policy,
        rollout: GroupRollout,
        reward: CompositeReward,
        reporter: Reporter,
        loss: GRPO,
        optimizer: Callable,
        total_steps: int,
        folder: str | Path,
        group_size: int = 8,
        advantage: Estimator = group_std,
        shuffle_advantages: bool = False,
        old_logprobs: str = "rollout",
        importance_cap: float | None = None,
        max_draws: int = 1,
        inner_epochs: int = 1,
        max_grad_norm: float = 1.0,
        warmup_steps: int = 10,
        microbatch_tokens: int = 16384,
    ):
        super().__init__(policy, rollout, reward, reporter, total_steps)
        settings = rollout.temperature, old_logprobs, importance_cap, microbatch_tokens
        self.objective = Objective(policy, loss, *settings, winning_only=rollout.learn_forced == WINNING)
        self.make_optimizer = checked("algorithm.optimizer", optimizer)
        self.folder = Path(folder)
        self.group_size = require_int("algorithm.group_size", group_size, 2)
        _require_balance(rollout, group_size)
        self.estimator = checked_estimator(advantage)
        self.shuffle_advantages = require_choice("algorithm.shuffle_advantages", shuffle_advantages, (True, False))
        self.inner_epochs = require_int("algorithm.inner_epochs", inner_epochs, 1)
        self.max_draws = require_int("algorithm.max_draws", max_draws, 1)
        self.max_grad_norm = require_number("algorithm.max_grad_norm", max_grad_norm, 0, above=True)
        self.warmup_steps = require_int("algorithm.warmup_steps", warmup_steps, 0)
        self.had_signal = False  # whether the rewards of any group differed

    def configure_optimizers(self) -> dict:
        optimizer = remembering(self.make_optimizer([p for p in self.policy.parameters() if p.requires_grad]))
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, batch: list[Example], batch_idx: int) -> None:
        step, clock = self.global_step, Clock()
        with self.meeting():
            draws = self.draw(batch, step, clock)
            self.rollout.decoder.release()
        with clock("update"):
            self.assign_advantages(draws.groups, step)
            report = self.optimize(draws.groups)
        self._report_step(draws, report, clock)

    def draw(self, batch: list[Example], step: int, clock: Clock) -> Draws:
        """Sample and score ``batch``, then further ones, until enough groups have rewards that differ.

        Ranks may need different numbers of batches, so none waits for another here.
        """
        draws = Draws(len(batch))
        further = self.trainer.datamodule.further(step, self.max_draws - 1) if self.max_draws > 1 else ()
        for examples in chain([batch], further):
            with clock("rollout"):
                groups, skipped = self.rollout.prompts(examples, self.group_size)
                self.rollout.force(groups)
                self.rollout.sample(groups, step)
            with clock("reward"):
                self.assign_rewards(groups, step)
            draws.add(groups, skipped)
            if draws.full:
                break
        return draws

    def assign_advantages(self, groups: list[Group], step: int) -> None:
        """Fill in the advantage of every trajectory. All ranks call this."""
        parts = distributed.gather([[trajectory.reward for trajectory in group.trajectories] for group in groups])
        if not (rewards := distributed.flat(parts)):
            return
        advantages = self.estimator(torch.tensor(rewards)).split(list(map(len, parts)))[distributed.rank()]
        for group, values in zip(groups, advantages.tolist(), strict=True):
            if self.shuffle_advantages:
                Random(f"{self.rollout.seed}/{step}/{group.example.id}").shuffle(values)
            for trajectory, value in zip(group.trajectories, values, strict=True):
                trajectory.advantage = value

    def optimize(self, groups: list[Group]) -> dict[str, float]:
        """Take ``inner_epochs`` optimizer steps on the groups of all ranks; returns metrics of the loss."""
        self.objective.prepare(groups)
        signal = any(trajectory.advantage for group in groups for trajectory in group.trajectories)
        self.had_signal = distributed.anywhere(self.had_signal or signal)
        optimizer, epochs = self.optimizers(), []
        for epoch in range(self.inner_epochs):
            sums = self.objective.backward(groups)
            norm = self.sum_gradients()
            epochs.append(distributed.total(sums))
            self._require_finite(epochs[-1]["loss"], norm, groups)
            # Only the last step goes through Lightning, which counts it: global_step counts rollout batches.
            (optimizer if epoch == self.inner_epochs - 1 else optimizer.optimizer).step()
            optimizer.zero_grad()
            torch.clear_autocast_cache()  # it holds low-precision copies of the weights before the step
        report = mean_report(epochs) | {"grad_norm": norm, "learning_rate": optimizer.optimizer.param_groups[0]["lr"]}
        self.rollout.decoder.refresh()
        self.lr_schedulers().step()
        return report

    def _require_finite(self, loss: float, norm: float, groups: list[Group]) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        rank = distributed.rank()  # each rank saves its own questions, because only it has their pictures
        path = self.folder / NON_FINITE.replace("*", f"_{rank}" if rank else "")
        torch.save({"step": self.global_step, "loss": loss, "grad_norm": norm, "groups": groups}, path)
        found = f"step {self.global_step}: loss {loss}, gradient norm {norm}; the batch is in {path}"
        fix = "lower algorithm.optimizer.lr or resume from an earlier checkpoint"
        distributed.stop(NonFiniteError(f"{found}; {fix}"))

    def _report_step(self, draws: Draws, report: dict, clock: Clock) -> None:
        """Log the step of all ranks together."""
        everyone = distributed.flat(distributed.gather_groups(draws.groups))
        errors = distributed.flat(distributed.gather(draws.skipped))
        with self.meeting():
            self.skipped.add(errors, batch_is_empty=not everyone)
        if everyone:
            report |= self.metrics(everyone, "sampled") | advantage_metrics(everyone)
            report |= {"forced_share": forced_share(everyone)} if self.rollout.balance else {}
            self.log("score", report["score/all"], prog_bar=True, logger=False, batch_size=len(everyone))
        if self.max_draws > 1:
            report |= draws.metrics()
        report |= {"data/skipped": len(errors)} | clock.report()
        recorded = partial(self.recorded, split="train")
        self.reporter.training(self.loggers, self.global_step, report, everyone, recorded)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["had_signal"] = self.had_signal

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        self.had_signal = checkpoint["had_signal"]


def _require_balance(rollout: GroupRollout, group_size: int) -> None:
    """Raise UserError if ``rollout.balance`` finds no tool, leaves nothing of a group, or has no thought to follow."""
    if rollout.balance and not rollout.dialogue.tools.max_calls:
        raise UserError(f"rollout.balance={rollout.balance}: there is no call to begin with; choose a tool, or 0")
    if 2 * rollout.balance >= group_size:
        raise UserError(
            f"rollout.balance={rollout.balance}: twice that must be less than algorithm.group_size={group_size}, "
            "so that some trajectories are the policy's own"
        )
    if rollout.balance and not leaves_a_thought(rollout.dialogue.prefill):
        raise UserError(
            f"rollout.balance={rollout.balance}: needs a thought that the policy ends; end prompt.prefill within it, "
            "or use 0"
        )
