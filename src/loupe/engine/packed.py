"""The packed decoder: the policy's own model writes the branches behind prefixes that are computed once per group.

Keys and values are kept across turns. Rows that have stopped are not decoded further.
"""

from collections.abc import Callable, Sequence

import torch

from loupe.engine.branches import Branches, PackedBranch
from loupe.engine.decoder import Branch, Random, Sampling
from loupe.engine.dialogue import Observation
from loupe.engine.fixed import FixedSteps
from loupe.engine.policy import Policy, entropy
from loupe.errors import NonFiniteError
from loupe.records import Group

Choose = Callable[[torch.Tensor, Sequence[Branch]], torch.Tensor]
"""From log-probabilities [R, V] and their branches to the next token [R] of each."""


def chosen_at_random(logp: torch.Tensor, live: Sequence[Branch]) -> torch.Tensor:
    """A sample for each branch, by its own random numbers."""
    return draw(logp, torch.tensor([branch.random.random() for branch in live], dtype=torch.float64))


class PackedDecoder:
    """fixed_shapes: decode in shapes that a GPU can replay (``fixed``); "auto" does so on a GPU."""

    def __init__(self, policy: Policy, fixed_shapes: bool | str = "auto", choose: Choose = chosen_at_random):
        self.policy, self.fixed_shapes, self.choose = policy, fixed_shapes, choose
        self.steps = FixedSteps(policy)

    def prefill(self, groups: list[Group], random: Random, sampling: Sampling) -> "PackedBatch":
        """Compute the prompts of the groups, each once."""
        on_gpu = self.policy.device.type == "cuda"
        steps = self.steps if self.fixed_shapes is True or (self.fixed_shapes == "auto" and on_gpu) else None
        return PackedBatch(self.policy, groups, random, sampling, self.choose, steps)

    def refresh(self) -> None:
        """It computes with the policy's own weights, and keeps nothing from one batch to the next."""

    def release(self) -> None:
        """Its memory is that of a batch; what a GPU replays (``fixed``) stays, because making it again takes longer."""


class PackedBatch:
    """See ``decoder.Batch``."""

    def __init__(
        self,
        policy: Policy,
        groups: list[Group],
        random: Random,
        sampling: Sampling,
        choose: Choose,
        steps: FixedSteps | None,
    ):
        self.policy, self.sampling, self.choose = policy, sampling, choose
        prefixes = policy.encode_prompts([group.prompt for group in groups])
        self.branches = [
            PackedBranch(trajectory, group.prompt, random(group, trajectory), row=row, position=position)
            for row, (group, position) in enumerate(zip(groups, prefixes.next_positions, strict=True))
            for trajectory in group.trajectories
        ]
        self._computed = Branches(policy, prefixes, self.branches, steps)
        self._states: torch.Tensor | None = prefixes.states[[branch.row for branch in self.branches]]

    def decode(self, live: Sequence[PackedBranch]) -> None:
        """Sample until every branch has ended its turn."""
        with self.policy.branching():
            states, self._states = self._states, None
            if states is None:
                self._computed.keep(live)
                states = self._computed.compute_pending(live)
            while True:
                size = self.policy.logits_chunk
                for i in range(0, len(live), size):
                    self._sample(live[i : i + size], states[i : i + size])
                over, room = self.sampling.turns.over, self.sampling.room
                live = [branch for branch in live if not over(branch) and room(branch) > 0]
                if not live:
                    return
                states = self._computed.compute_pending(live)

    def observe(self, branch: PackedBranch, observation: Observation) -> None:
        """Compute the observation at the beginning of the next turn."""
        branch.pending += observation.ids
        branch.images += observation.images

    def _sample(self, live: Sequence[PackedBranch], states: torch.Tensor) -> None:
        """Append one token to each branch. states: [R, D], those before it."""
        logp = self.policy.log_distribution(states, self.sampling.temperature)
        if forbidden := self.sampling.turns.forbidden:
            logp = forbidden.applied(logp, [branch.tail for branch in live])
        tokens = logp.argmax(-1) if self.sampling.greedy else self.choose(logp, live)
        for row, branch in enumerate(live):
            if branch.due:
                tokens[row] = branch.due.pop(0)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
        if not torch.isfinite(chosen).all():
            raise NonFiniteError(
                "the policy's log-probabilities are not finite: its weights have diverged; restart, or resume from an "
                "earlier checkpoint, with a lower algorithm.optimizer.lr"
            )
        columns = zip(live, tokens.tolist(), chosen.tolist(), entropy(logp).tolist(), strict=True)
        for branch, token, logprob, nats in columns:
            self.sampling.turns.append(branch, token, logprob, nats)
            branch.pending.append(token)


def draw(logp: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Sample one token per row by inverting the cumulative distribution at ``uniforms`` [R] in [0, 1).

    logp: [R, V]. With one uniform number per token, a sample is a function of its own key alone.
    """
    cumulative = logp.double().exp().cumsum(-1)
    targets = uniforms.to(cumulative) * cumulative[:, -1]
    tokens = torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]
    # Rounding can put a target at the very top; it then means the last token of nonzero probability.
    last = (logp > -torch.inf).long().cumsum(-1).argmax(-1)
    return torch.minimum(tokens, last)
