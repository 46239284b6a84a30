"""The branches of the packed decoder: trajectories that are being sampled behind the prefixes that they share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from loupe.engine.decoder import Branch
from loupe.engine.fixed import FixedBranches, FixedSteps
from loupe.engine.layout import OwnKeys, Prefixes
from loupe.engine.policy import Policy
from loupe.records import ImagePatches


@dataclass(eq=False)
class PackedBranch(Branch):
    """One branch, and what has not been computed of it."""

    row: int = 0  # of its prefix
    position: int = 0  # M-RoPE position of the next token
    pending: list[int] = field(default_factory=list)  # tokens not yet computed
    images: list[ImagePatches] = field(default_factory=list)  # behind the pending placeholders


class Branches:
    """What has been computed of the branches of a batch of prompts, which are in the order of their prompts."""

    def __init__(
        self, policy: Policy, prefixes: Prefixes, branches: list[PackedBranch], steps: FixedSteps | None = None
    ):
        self.policy, self.prefixes, self.steps = policy, prefixes, steps
        self._number(branches)
        self.fixed: FixedBranches | None = None
        self.own = OwnKeys(len(branches), prefixes.kv_heads, policy.device)

    def compute_pending(self, live: Sequence[PackedBranch]) -> torch.Tensor:
        """Compute the pending tokens of ``live``; returns the state [R, D] after the last one of each.

        The other branches wait for the end of the turn.
        """
        if self.steps and all(len(branch.pending) == 1 for branch in live):
            return self._decode(live, self.steps)
        self._leave()
        ids, positions, images, counts = [], [], [], dict.fromkeys(map(id, self.branches), 0)
        for branch in live:
            places, branch.position = self.policy.positions(branch.pending, branch.images, branch.position)
            positions.append(places)
            counts[id(branch)] = len(branch.pending)
            ids += branch.pending
            images += branch.images
            branch.pending, branch.images = [], []
        shared = self.prefixes.share([branch.row for branch in self.branches], list(counts.values()), self.own)
        ends = np.cumsum([count for count in counts.values() if count]) - 1
        return self.policy.extend(shared, ids, positions, images)[ends]

    def _decode(self, live: Sequence[PackedBranch], steps: FixedSteps) -> torch.Tensor:
        """Compute one token of each, in fixed shapes."""
        if self.fixed and self.fixed.full:
            self._leave()
        self.fixed = self.fixed or FixedBranches(steps, self.prefixes, self.own, [b.row for b in self.branches])
        tokens, positions = [branch.pending.pop() for branch in live], [branch.position for branch in live]
        for branch in live:
            branch.position += 1
        return self.fixed([self.indices[id(branch)] for branch in live], tokens, positions)

    def _leave(self) -> None:
        if self.fixed:
            self.fixed.leave()
        self.fixed = None

    def _number(self, branches: list[PackedBranch]) -> None:
        self.branches, self.indices = branches, {id(branch): i for i, branch in enumerate(branches)}

    def keep(self, live: Sequence[PackedBranch]) -> None:
        """Forget the branches that are over, and the prefixes that no other branch needs."""
        if len(live) == len(self.branches):
            return
        self._leave()
        self.own.keep([self.indices[id(branch)] for branch in live])
        self._number(list(live))
        rows = sorted({branch.row for branch in live})
        if len(rows) < len(self.prefixes.lengths):
            self.prefixes = self.prefixes.select(rows)
            for branch in live:
                branch.row = rows.index(branch.row)
