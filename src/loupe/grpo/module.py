"""The training loop as a LightningModule: one training step = prompts -> rollout -> rewards -> advantages -> step(s).

GRPO (arXiv 2402.03300, as used in arXiv 2506.14821) with manual optimisation. What stays with Lightning: devices,
checkpoints, validation schedule, resuming. ``global_step`` counts rollout batches, also with several inner epochs.
Of several processes each samples and differentiates its own groups; what is divided by, summed or told is of all.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import lightning
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR

from loupe.engine import update
from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import BadExample, NonFiniteError, UserError, require_choice, require_int, require_number
from loupe.grpo import distributed
from loupe.grpo.advantages import SCALES, group_advantages
from loupe.grpo.losses import GRPO
from loupe.logs.reporter import Reporter
from loupe.metrics import training as metrics
from loupe.records import Example, Group, Trajectory
from loupe.rewards.composite import CompositeReward

LOG = logging.getLogger(__name__)
EMPTY_BATCHES = 10
"""After this many batches in a row without one readable row, the run stops."""


class GRPOModule(lightning.LightningModule):
    """Group rollout and the GRPO update.

    optimizer: makes the optimiser from parameters. total_steps: rollout batches of the whole run, for the cosine
    learning rate after ``warmup_steps``. group_size: trajectories per question. inner_epochs: optimiser steps on each
    rollout batch. microbatch_tokens: padded tokens of prefixes and branches computed at a time; bounds memory.
    advantage_scale: see ``advantages``. shuffle_advantages: deal the advantages out anew within each group, a control
    in which nothing can be learned. old_logprobs: the denominators of the importance ratio, as the "rollout"
    recorded them, or computed once more before the "update" (for low precision, where the two differ in rounding).
    folder: where a batch with a non-finite loss is saved.
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
        advantage_scale: str = "std",
        shuffle_advantages: bool = False,
        old_logprobs: str = "rollout",
        inner_epochs: int = 1,
        max_grad_norm: float = 1.0,
        warmup_steps: int = 10,
        microbatch_tokens: int = 16384,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds what is trained, not the frozen base
        self.policy = policy
        self.rollout = rollout
        self.reward = reward
        self.reporter = reporter
        self.loss = loss
        self.make_optimizer = checked("algorithm.optimizer", optimizer)
        self.total_steps = require_int("trainer.max_steps", total_steps, 1)
        self.folder = Path(folder)
        self.group_size = require_int("algorithm.group_size", group_size, 2)
        self.advantage_scale = require_choice("algorithm.advantage_scale", advantage_scale, SCALES)
        self.shuffle_advantages = require_choice("algorithm.shuffle_advantages", shuffle_advantages, (True, False))
        self.inner_epochs = require_int("algorithm.inner_epochs", inner_epochs, 1)
        self.old_logprobs = require_choice("algorithm.old_logprobs", old_logprobs, ("rollout", "update"))
        self.max_grad_norm = require_number("algorithm.max_grad_norm", max_grad_norm, 0, above=True)
        self.warmup_steps = require_int("algorithm.warmup_steps", warmup_steps, 0)
        self.microbatch_tokens = require_int("algorithm.microbatch_tokens", microbatch_tokens, 1)
        self.skipped: set[str] = set()  # one line for each row that could not be read
        self.evaluated: list[Group] = []
        self.faults = distributed.Faults()
        self.empty_batches = 0
        self.had_signal = False  # whether any group's rewards differed
        self.earlier_seconds = 0.0  # of training, before the run was resumed
        self.started = time.perf_counter()
        self.before: dict = {}  # held-out figures before training; a resumed run reports them too
        # The reference of the KL term. A list hides the copy from Lightning: it is neither trained nor saved.
        self._reference = [] if not loss.beta or policy.has_adapter else [policy.frozen_copy()]

    def configure_optimizers(self):
        optimizer = self.make_optimizer([p for p in self.policy.parameters() if p.requires_grad])
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def training_step(self, batch: list[Example], batch_idx: int) -> None:
        step, clock = self.global_step, Clock()
        with self.faults.held():
            with clock("rollout"):
                groups, skipped = self.rollout(batch, self.group_size, step)
            with clock("reward"):
                self.score(groups, step)
        self.faults.meet()  # goes on only if no rank holds an error
        with clock("update"):
            report = self.optimise(groups)
        everyone = distributed.flat(distributed.gather_groups(groups))
        skipped = distributed.flat(distributed.gather(skipped))
        with self.faults.held():
            self._note_skipped(skipped, nothing_left=not everyone)
        self.faults.meet()
        if everyone:
            report |= metrics.rollout_metrics(everyone) | metrics.advantage_metrics(everyone)
            self.log("score", report["score"], prog_bar=True, logger=False, batch_size=len(everyone))
        report |= {"data/skipped": len(skipped)} | clock.report()
        self.reporter.training(self.loggers, self.global_step, report, everyone)

    def score(self, groups: list[Group], step: int) -> None:
        """Fill in rewards and advantages."""
        for group in groups:
            self.reward.score_group(group, step)
            rewards = torch.tensor([[trajectory.reward for trajectory in group.trajectories]])
            advantages = group_advantages(rewards, self.advantage_scale)[0].tolist()
            if self.shuffle_advantages:
                Random(f"{self.rollout.seed}/{step}/{group.example.id}").shuffle(advantages)
            for trajectory, advantage in zip(group.trajectories, advantages, strict=True):
                trajectory.advantage = advantage

    def optimise(self, groups: list[Group]) -> dict[str, float]:
        """Take ``inner_epochs`` optimiser steps on these groups and those of the other ranks.

        Returns what there is to report of all of them.
        """
        optimizer, trajectories = self.optimizers(), [t for group in groups for t in group.trajectories]
        weights = self._token_weights(trajectories)
        self._add_logprobs(groups)
        self.had_signal = distributed.anywhere(self.had_signal or any(t.advantage for t in trajectories))
        # Without a KL term a trajectory of zero advantage has no gradient; its tokens stay in the weights.
        active = [
            Group(g.example, g.prompt, [t for t in g.trajectories if t.advantage or self.loss.beta]) for g in groups
        ]
        epochs: list[Counter] = []
        for epoch in range(self.inner_epochs):
            sums = Counter()
            loss_of = partial(self._loss, weights=weights, sums=sums)
            update.backward(self.policy, active, loss_of, self.rollout.temperature, self.microbatch_tokens)
            distributed.sum_gradients(self.policy.parameters())
            epochs.append(distributed.total(sums))
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm).item()
            self._require_finite(epochs[-1]["loss"], norm, groups)
            # Only the last step goes through Lightning, which counts it: global_step counts rollout batches.
            (optimizer if epoch == self.inner_epochs - 1 else optimizer.optimizer).step()
            optimizer.zero_grad()
            torch.clear_autocast_cache()  # it holds low-precision copies of the weights before the step
        schedule = self.lr_schedulers()
        report = _means(epochs) | {"grad_norm": norm, "learning_rate": schedule.get_last_lr()[0]}
        schedule.step()
        return report

    def _token_weights(self, trajectories: list[Trajectory]) -> dict[int, float]:
        """The weight of a token of each trajectory, by the trajectory's id(), among those of all ranks."""
        lengths = distributed.gather([trajectory.n_sampled for trajectory in trajectories])
        weights = self.loss.token_weights(torch.tensor(distributed.flat(lengths), dtype=torch.float32))
        mine = weights.split(list(map(len, lengths)))[distributed.rank()]
        return dict(zip(map(id, trajectories), mine.tolist(), strict=True))

    def _loss(self, trajectories: list[Trajectory], logp, mask, weights: dict[int, float], sums: Counter):
        """The loss of a micro-batch; what there is to report is added to ``sums``."""

        def padded(rows):
            return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(logp)

        loss, report = self.loss(
            logp,
            padded(t.old_logprobs for t in trajectories),
            padded(t.ref_logprobs for t in trajectories) if self.loss.beta else None,
            torch.tensor([t.advantage for t in trajectories]).to(logp),
            torch.tensor([weights[id(t)] for t in trajectories]).to(logp),
            mask,
        )
        rounding = (logp.detach() - padded(t.sampled_logprobs for t in trajectories)).mul(mask).abs().sum()
        sums.update(
            {"loss": loss.item(), "gap": rounding.item()} | {key: value.item() for key, value in report.items()}
        )
        return loss

    def _add_logprobs(self, groups: list[Group]) -> None:
        """Fill in old_logprobs, and ref_logprobs if there is a KL term."""
        temperature, budget = self.rollout.temperature, self.microbatch_tokens
        for trajectory in (t for group in groups for t in group.trajectories):
            trajectory.old_logprobs = trajectory.sampled_logprobs
        if self.old_logprobs == "update":
            for trajectory, logprobs in update.logprobs(self.policy, groups, temperature, budget):
                trajectory.old_logprobs = logprobs
        if self.loss.beta:
            with self._reference_policy() as reference:
                for trajectory, logprobs in update.logprobs(reference, groups, temperature, budget):
                    trajectory.ref_logprobs = logprobs

    @contextmanager
    def _reference_policy(self):
        if self._reference:
            yield self._reference[0].to(self.device)
        else:
            with self.policy.adapter_off():
                yield self.policy

    def _require_finite(self, loss: float, norm: float, groups: list[Group]) -> None:
        if all(torch.isfinite(torch.tensor(value)) for value in (loss, norm)):
            return
        rank = distributed.rank()  # each saves its own questions, since only it has their pictures
        path = self.folder / (f"nonfinite_batch_{rank}.pt" if rank else "nonfinite_batch.pt")
        torch.save({"step": self.global_step, "loss": loss, "grad_norm": norm, "groups": groups}, path)
        distributed.stop(
            NonFiniteError(
                f"step {self.global_step}: loss {loss}, gradient norm {norm}; the batch is in {path}; "
                "lower algorithm.optimizer.lr or resume from an earlier checkpoint"
            )
        )

    def _note_skipped(self, errors: list[BadExample], nothing_left: bool) -> None:
        """Name each row once; give up on a data set of which nothing can be read."""
        self._name_skipped(map(str, errors))
        self.empty_batches = self.empty_batches + 1 if nothing_left else 0
        if self.empty_batches == EMPTY_BATCHES:
            raise UserError(f"no row of {EMPTY_BATCHES} batches in a row could be read; the last: {errors[-1]}")

    def _name_skipped(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self.skipped:
                self.skipped.add(line)
                LOG.warning("skipped: %s", line)

    # Validation and test: greedy, one trajectory a question. Ranks meet only at the end.

    def _evaluation_step(self, batch: list[Example]) -> None:
        with self.faults.held():
            groups, skipped = self.rollout(batch, 1, self.global_step, greedy=True)
            for group in groups:
                self.reward.score_group(group, self.global_step)
            self._note_skipped(skipped, nothing_left=bool(skipped) and not groups)
            self.evaluated += [group.light() for group in groups]

    def _join_evaluated(self) -> None:
        """From here on every rank knows the answers to all questions."""
        self.faults.meet()
        self.evaluated = distributed.interleaved(distributed.gather_groups(self.evaluated))
        self._name_skipped(distributed.flat(distributed.gather(sorted(self.skipped))))
        self.empty_batches = min(distributed.gather(self.empty_batches))

    def on_validation_epoch_start(self) -> None:
        self.evaluated = []

    def validation_step(self, batch: list[Example], batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_validation_epoch_end(self) -> None:
        self._join_evaluated()
        with self.faults.held():
            report = metrics.rollout_metrics(self.evaluated)
        self.faults.meet()
        self.log("val/score", report["score"], prog_bar=True, logger=False)
        self.reporter.validation(self.loggers, self.global_step, report)

    on_test_epoch_start = on_validation_epoch_start

    def test_step(self, batch: list[Example], batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_test_epoch_end(self) -> None:
        self._join_evaluated()

    @property
    def seconds(self) -> float:
        """Of training so far, the part before a resume included."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def on_fit_start(self) -> None:
        self.policy.train()
        self.started = time.perf_counter()

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.global_step == self.total_steps:  # Lightning then validates the last step too, whatever the interval
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        trained = {f"policy.{name}" for name, p in self.policy.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint |= {"before": self.before, "seconds": self.seconds, "had_signal": self.had_signal}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.earlier_seconds = checkpoint["seconds"]
        self.had_signal = checkpoint["had_signal"]


def checked(name: str, optimizer: Callable) -> Callable:
    """Try the settings of the optimiser called ``name`` out now, rather than after the first evaluation."""
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1, 1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error
    return optimizer


class Clock:
    """Seconds spent in named phases, and in all, since it was made."""

    def __init__(self):
        self.started = time.perf_counter()
        self.phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str):
        begun = time.perf_counter()
        yield
        self.phases[phase] = time.perf_counter() - begun

    def report(self) -> dict[str, float]:
        phases = self.phases | {"step": time.perf_counter() - self.started}
        return {f"time/{name}": seconds for name, seconds in phases.items()}


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at ``step`` (0 is the first, and already moves): linear up, cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def _means(epochs: list[Counter]) -> dict[str, float]:
    """The loss, a mean over inner epochs; the rest are means over the tokens that had a gradient, if any did."""
    totals = Counter()
    for sums in epochs:
        totals.update(sums)
    report = {"loss": totals["loss"] / len(epochs)}
    if tokens := totals["tokens"]:
        names = {"ratio/mean": "ratio", "clip/low_share": "clipped_low", "clip/high_share": "clipped_high", "kl": "kl"}
        report |= {name: totals[key] / tokens for name, key in names.items() if key in totals}
        # Before the first step the update's log-probabilities differ from the rollout's by rounding alone.
        report["ratio/logprob_gap"] = epochs[0]["gap"] / epochs[0]["tokens"]
    return report
