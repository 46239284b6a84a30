"""What a training step minimizes: the policy loss of all groups, computed in micro-batches."""

from collections import Counter
from contextlib import nullcontext
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence

from loupe.engine import update
from loupe.engine.adapter import as_reference, remember_adapter
from loupe.engine.policy import Policy
from loupe.errors import UserError, require_choice, require_int, require_number
from loupe.grpo import distributed
from loupe.grpo.losses import GRPO, importance_weights
from loupe.records import Group, Trajectory


class Objective:
    """A loss and what it needs to know of the whole batch: token weights, old log-probabilities, the reference's.

    The settings are those of ``GRPOModule``. winning_only: whether forced trajectories have a loss only if they win
    (``rollout.WINNING``). A frozen copy of the policy, if one is needed as the reference of the KL term, lives here,
    where Lightning neither trains nor saves it.
    """

    def __init__(
        self,
        policy: Policy,
        loss: object,
        temperature: float,
        old_logprobs: str,
        importance_cap: float | None,
        microbatch_tokens: int,
        winning_only: bool = False,
    ):
        if not isinstance(loss, GRPO):
            given = " is empty" if loss is None else f"={loss}: is not a loss"
            raise UserError(f"algorithm.loss{given}; choose an algorithm (algorithm=grpo) and change its values")
        self.policy, self.loss, self.temperature = policy, loss, temperature
        self.old_logprobs = require_choice("algorithm.old_logprobs", old_logprobs, ("rollout", "update"))
        if importance_cap is not None:
            require_number("algorithm.importance_cap", importance_cap, 0, above=True)
            if old_logprobs != "update":
                raise UserError(f"algorithm.importance_cap={importance_cap}: needs algorithm.old_logprobs=update")
        self.importance_cap, self.winning_only = importance_cap, winning_only
        self.microbatch_tokens = require_int("algorithm.microbatch_tokens", microbatch_tokens, 1)
        self.reference = policy.frozen_copy() if loss.beta and not policy.has_adapter else None
        if loss.beta and policy.adapter_loaded:  # before a checkpoint is loaded
            remember_adapter(policy)

    def prepare(self, groups: list[Group]) -> None:
        """Fill in token_weight, old_logprobs and, with a KL term, ref_logprobs. All ranks call this.

        Where the old log-probabilities are recomputed, entropies that the decoder did not tell are filled in too.
        """
        trajectories = [trajectory for group in groups for trajectory in group.trajectories]
        self._assign_token_weights(trajectories)
        for trajectory in trajectories:
            trajectory.old_logprobs = trajectory.sampled_logprobs
        settings = self.temperature, self.microbatch_tokens
        if self.old_logprobs == "update":
            unknown = any(not trajectory.entropies for trajectory in trajectories)
            for trajectory, (logprobs, *entropies) in update.scores(self.policy, groups, *settings, unknown):
                trajectory.old_logprobs = logprobs
                trajectory.entropies = entropies[0] if entropies else trajectory.entropies
        if self.loss.beta:
            reference = self.reference.to(self.policy.device) if self.reference else self.policy
            with nullcontext() if self.reference else as_reference(self.policy):
                for trajectory, logprobs in update.logprobs(reference, groups, *settings):
                    trajectory.ref_logprobs = logprobs

    def backward(self, groups: list[Group]) -> Counter:
        """Accumulate the gradient of prepared groups; returns the loss and sums over tokens for ``mean_report``."""
        sums: Counter = Counter()
        active = [Group(g.example, g.prompt, list(filter(self._has_gradient, g.trajectories))) for g in groups]
        loss_of = partial(self._loss, sums)
        entropies = self.loss.entropy > 0
        update.backward(self.policy, active, loss_of, self.temperature, self.microbatch_tokens, entropies)
        return sums

    def _has_gradient(self, trajectory: Trajectory) -> bool:
        """Without a KL or entropy term, zero advantage means no gradient; the tokens still count in the weights."""
        if self.winning_only and trajectory.forced and trajectory.advantage <= 0:
            return False
        return bool(trajectory.advantage) or self.loss.regularized

    def _assign_token_weights(self, trajectories: list[Trajectory]) -> None:
        """Weights depend on the lengths of the trajectories of all ranks."""
        lengths = distributed.gather([trajectory.n_sampled for trajectory in trajectories])
        weights = self.loss.token_weights(torch.tensor(distributed.flat(lengths), dtype=torch.float32))
        mine = weights.split(list(map(len, lengths)))[distributed.rank()]
        for trajectory, weight in zip(trajectories, mine.tolist(), strict=True):
            trajectory.token_weight = weight

    def _loss(self, sums: Counter, trajectories: list[Trajectory], logp, mask, entropies=None) -> torch.Tensor:
        """The loss of a micro-batch; sums over its tokens are added to ``sums``."""

        def padded(rows):
            return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(logp)

        old = padded(t.old_logprobs for t in trajectories)
        sampled = padded(t.sampled_logprobs for t in trajectories)
        ref = padded(t.ref_logprobs for t in trajectories) if self.loss.beta else None
        advantages = torch.tensor([[t.advantage] for t in trajectories]).to(logp)
        weights = torch.tensor([t.token_weight for t in trajectories]).to(logp)
        report = {"gap": (logp.detach() - sampled).mul(mask).abs().sum()}
        if self.importance_cap is not None:
            importance, more = importance_weights(old, sampled, mask, self.importance_cap)
            advantages, report = advantages * importance, report | more
        loss, more = self.loss(logp, old, ref, advantages, weights, mask, entropies)
        sums.update({"loss": loss.item()} | {key: value.item() for key, value in (report | more).items()})
        return loss
