"""Group rollout: G trajectories branch from one prefix that is computed once.

Algorithm (arXiv 2506.14821 §3): the policy writes a turn; a tool call is executed on the original picture and its
result is appended as new tokens; after at most ``tool.max_calls`` calls the policy answers. This is the dialogue; a
decoder computes the turns (``decoder.Decoder``), by default the packed one.

Departures: turns end on the decoded text, and the ids are kept as sampled; a failed call counts against the budget and
is answered by one short observation.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Self

import numpy as np
import torch

from loupe.engine.decoder import Batch, Branch, Decoder, Sampling, Turns
from loupe.engine.dialogue import Dialogue, Observation
from loupe.engine.environment import Environment
from loupe.engine.invariants import check_trajectory
from loupe.engine.packed import PackedDecoder
from loupe.engine.policy import Policy
from loupe.errors import BadExample, UserError, require_choice, require_int, require_number
from loupe.records import Example, Group, Trajectory

WINNING = "winning"
"""Of ``learn_forced``: among trajectories with a forced tag, those with a positive advantage alone have a loss."""


@dataclass(eq=False)
class GroupRollout:
    """Samples groups of trajectories.

    max_new_tokens: tokens per turn. max_observation_tokens, max_total_tokens: see ``environment.Environment``.
    temperature: from 1e-6 to 1e6. prompts_per_batch: groups decoded together. fixed_shapes: decode in shapes that a GPU
    can replay (``fixed``); "auto" does so on a GPU. balance, learn_forced: see :meth:`force`.
    seed: random numbers are keyed by seed, step, example id and sample index, so that results depend neither on the
    batch layout nor on the rank.
    """

    policy: Policy
    dialogue: Dialogue
    max_new_tokens: int = 64
    max_observation_tokens: int = 4096
    max_total_tokens: int = 32768
    temperature: float = 1.0
    prompts_per_batch: int = 16
    fixed_shapes: bool | str = "auto"
    balance: int = 0
    learn_forced: bool | str = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "prompts_per_batch"):
            require_int(f"rollout.{name}", getattr(self, name), 1)
        require_number("rollout.temperature", self.temperature, 1e-6, 10**6)  # logits divided by it stay finite
        self.environment = Environment(self.dialogue, self.max_observation_tokens, self.max_total_tokens)
        require_choice("rollout.fixed_shapes", self.fixed_shapes, ("auto", True, False))
        require_int("rollout.balance", self.balance, 0)
        require_choice("rollout.learn_forced", self.learn_forced, (True, False, WINNING))
        tools = self.dialogue.tools
        if self.learn_forced and not self.balance:
            given = str(self.learn_forced).lower()
            raise UserError(
                f"rollout.learn_forced={given}: no tag is forced; set rollout.balance too, or leave it false"
            )
        self._turns = Turns(self.policy, tools.stop_texts, tools.forbidden_tag, bool(self.learn_forced))
        self.decoder = self.make_decoder()

    def make_decoder(self) -> Decoder:
        """What computes the turns."""
        return PackedDecoder(self.policy, self.fixed_shapes)

    def changed(self, **settings: Any) -> Self:
        """The same with other settings of sampling. It shares the decoder, and with it what a GPU has recorded."""
        other = replace(self, **settings)
        other.decoder = self.decoder
        return other

    def __call__(
        self, examples: list[Example], group_size: int, step: int, greedy: bool = False, first: str | None = None
    ) -> tuple[list[Group], list[BadExample]]:
        """One sampled group per readable example, and the errors of those that were skipped.

        first: the tag with which all trajectories go on after their first thought, as in :meth:`force`.
        """
        groups, skipped = self.prompts(examples, group_size)
        for trajectory in chain.from_iterable(group.trajectories for group in groups):
            trajectory.forced = first
        self.sample(groups, step, greedy)
        return groups, skipped

    def prompts(self, examples: list[Example], group_size: int) -> tuple[list[Group], list[BadExample]]:
        """One group per readable example, its trajectories still empty, and the errors of the rest."""
        groups, skipped = [], []
        for example in examples:
            try:
                groups.append(Group(example, self.dialogue.prompt(example), [Trajectory(i) for i in range(group_size)]))
            except BadExample as error:
                skipped.append(error)
        return groups, skipped

    def force(self, groups: list[Group]) -> None:
        """Let ``balance`` trajectories of each group begin with a call, and as many with an answer.

        After their first thought, the beginning of the tag is written for them, and is no sampled token. So there is
        always something to compare with, also when the policy has come to call always or never.

        With ``learn_forced`` it counts as sampled, with the probability that the policy gives it, so that the policy
        also learns to begin like this where that pays. That is a departure from the policy gradient, whose force on a
        choice vanishes with its probability p: this one leaves out the factor p. So a beginning that loses is pushed
        down on and on, with all that follows it, such as the form of calls. With ``WINNING`` only those forced
        trajectories have a loss whose advantage is positive (as in self-imitation learning, arXiv 1806.05635), and the
        push ends once the policy begins like them itself.
        """
        for group in groups:
            for tag, start in ((self.dialogue.tools.form.tag, 0), ("answer", self.balance)):
                for trajectory in group.trajectories[start : start + self.balance]:
                    trajectory.forced, trajectory.free = tag, False

    @torch.no_grad()
    def sample(self, groups: list[Group], step: int, greedy: bool = False) -> None:
        """Sample the trajectories of these groups, or decode them greedily."""
        was_training = self.policy.training
        self.policy.eval()
        for i in range(0, len(groups), self.prompts_per_batch):
            self._run(groups[i : i + self.prompts_per_batch], step, greedy)
        self.policy.train(was_training)

    def _run(self, groups: list[Group], step: int, greedy: bool) -> None:
        sampling = Sampling(self._turns, self.temperature, self.max_new_tokens, greedy)
        batch = self.decoder.prefill(groups, partial(self._random, step), sampling)
        live = batch.branches
        for branch in live:
            branch.waiting = branch.trajectory.forced is not None
        while live:
            batch.decode(live)
            live = [branch for branch in live if self._end_turn(branch, batch)]
        for group in groups:
            for trajectory in group.trajectories:
                check_trajectory(trajectory, group.prompt, self.policy)

    def _random(self, step: int, group: Group, trajectory: Trajectory) -> np.random.Generator:
        key = f"{self.seed}/{step}/{group.example.id}/{trajectory.sample}".encode()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(key).digest()[:16])))

    def _end_turn(self, branch: Branch, batch: Batch) -> bool:
        """Read the turn. If the policy goes on writing, after an observation or its first thought, return True."""
        if branch.waiting:
            room = self.max_new_tokens - branch.length
            ids = self._turns.force(branch, room)
            if ids and not branch.due:
                batch.observe(branch, Observation(ids, []))
            if ids or (room > 0 and not self._turns.over(branch)):
                return True
        branch.trajectory.turn_lengths.append(branch.length)
        text = self._turns.text(branch)
        text = text if branch.trajectory.turns else branch.prompt.prefill + text
        observation = self.environment.answer(branch, text, self._turns.over(branch))
        if observation is None:
            return False
        batch.observe(branch, observation)
        self._turns.begin(branch)
        return True
