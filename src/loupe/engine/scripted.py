"""A rollout that follows a script, for tests and benchmarks, with real tokens, tool, pictures and log-probabilities."""

from collections.abc import Sequence

import torch

from loupe.engine.decoder import Branch
from loupe.engine.packed import PackedDecoder
from loupe.engine.rollout import GroupRollout
from loupe.records import Group


class ScriptedRollout(GroupRollout):
    """Writes the given turns instead of sampling; log-probabilities still come from the model."""

    def __init__(self, *args, script: list[list[str | list[int]]], **kwargs):
        """script[g] lists the turns of sample g of every group; a turn is text or a list of token ids."""
        super().__init__(*args, **kwargs)
        self.script = [[self._ids(turn) for turn in turns] for turns in script]

    def make_decoder(self) -> PackedDecoder:
        """The packed decoder, told what to write."""
        return PackedDecoder(self.policy, self.fixed_shapes, self._choose)

    def sample(self, groups: list[Group], step: int, greedy: bool = False) -> None:
        """Follow the script, in greedy decoding too."""
        super().sample(groups, step, greedy=False)

    def turns_of(self, branch: Branch) -> list[list[int]]:
        return self.script[branch.trajectory.sample]

    def _ids(self, turn: str | list[int]) -> list[int]:
        return self.policy.tokenizer(turn, add_special_tokens=False)["input_ids"] if isinstance(turn, str) else turn

    def _choose(self, logp: torch.Tensor, live: Sequence[Branch]) -> torch.Tensor:
        turns = [(branch, self.turns_of(branch)[len(branch.trajectory.turns)]) for branch in live]
        tokens = [turn[len(branch.trajectory.ids) - branch.turn_start] for branch, turn in turns]
        return torch.tensor(tokens, device=logp.device)
