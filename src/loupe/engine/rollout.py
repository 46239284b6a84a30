"""Group rollout: G trajectories branch from one prefix that is computed once.

Algorithm (arXiv 2506.14821 §3): the policy writes a turn; a tool call is executed on the original picture and its
result is appended as new tokens; after at most ``tool.max_calls`` calls the policy answers. Keys and values are
kept across turns. Rows that have stopped are not decoded further.

Departures: turns end on the decoded text, and the ids are kept as sampled; a failed call counts against the budget and
is answered by one short observation.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from loupe.engine.branches import Branch, Branches
from loupe.engine.dialogue import Dialogue
from loupe.engine.environment import Environment
from loupe.engine.fixed import FixedSteps
from loupe.engine.invariants import check_trajectory
from loupe.engine.policy import Policy, entropy
from loupe.errors import BadExample, NonFiniteError, require_choice, require_int, require_number
from loupe.records import Example, Group, Trajectory


@dataclass(eq=False)
class GroupRollout:
    """Samples groups of trajectories.

    max_new_tokens: sampled tokens per turn. max_observation_tokens, max_total_tokens: see ``environment.Environment``.
    temperature: from 1e-6 to 1e6. prompts_per_batch: groups decoded together. fixed_shapes: decode in shapes that a GPU
    can replay (``fixed``); "auto" does so on a GPU.
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
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "prompts_per_batch"):
            require_int(f"rollout.{name}", getattr(self, name), 1)
        require_number("rollout.temperature", self.temperature, 1e-6, 10**6)  # logits divided by it stay finite
        self.environment = Environment(self.dialogue, self.max_observation_tokens, self.max_total_tokens)
        require_choice("rollout.fixed_shapes", self.fixed_shapes, ("auto", True, False))
        self._steps = FixedSteps(self.policy)
        self._pieces: dict[int, str] = {}  # the text of each token by itself

    def __call__(
        self, examples: list[Example], group_size: int, step: int, greedy: bool = False
    ) -> tuple[list[Group], list[BadExample]]:
        """One sampled group per readable example, and the errors of those that were skipped."""
        groups, skipped = self.prompts(examples, group_size)
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

    @torch.no_grad()
    def sample(self, groups: list[Group], step: int, greedy: bool = False) -> None:
        """Sample the trajectories of these groups, or decode them greedily."""
        was_training = self.policy.training
        self.policy.eval()
        for i in range(0, len(groups), self.prompts_per_batch):
            self._run(groups[i : i + self.prompts_per_batch], step, greedy)
        self.policy.train(was_training)

    def _run(self, groups: list[Group], step: int, greedy: bool) -> None:
        prefixes = self.policy.encode_prompts([group.prompt for group in groups])
        live = [
            Branch(trajectory, group.prompt, row, prefixes.next_positions[row], self._random(step, group, trajectory))
            for row, group in enumerate(groups)
            for trajectory in group.trajectories
        ]
        on_gpu = self.policy.device.type == "cuda"
        steps = self._steps if self.fixed_shapes is True or (self.fixed_shapes == "auto" and on_gpu) else None
        branches, states = Branches(self.policy, prefixes, live, steps), prefixes.states[[b.row for b in live]]
        with self.policy.branching():
            while live:
                self._decode_turn(live, states, branches, greedy)
                live = [branch for branch in live if self._end_turn(branch)]
                if live:
                    branches.keep(live)
                    states = branches.compute_pending(live)
        for group in groups:
            for trajectory in group.trajectories:
                check_trajectory(trajectory, group.prompt, self.policy)

    def _random(self, step: int, group: Group, trajectory: Trajectory) -> np.random.Generator:
        key = f"{self.seed}/{step}/{group.example.id}/{trajectory.sample}".encode()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(key).digest()[:16])))

    def _decode_turn(self, live: list[Branch], states: torch.Tensor, branches: Branches, greedy: bool) -> None:
        """Sample until every branch has ended its turn. states: [R, D], those before the next token of each branch."""
        for branch in live:
            branch.turn_start, branch.tail = len(branch.trajectory.ids), ""
        for count in range(1, self.max_new_tokens + 1):
            size = self.policy.logits_chunk
            for i in range(0, len(live), size):
                self._sample(live[i : i + size], states[i : i + size], greedy)
            live = [branch for branch in live if not self._turn_is_over(branch)]
            if not live or count == self.max_new_tokens:
                return
            states = branches.compute_pending(live)

    def _sample(self, live: list[Branch], states: torch.Tensor, greedy: bool) -> None:
        """Append one token to each branch."""
        logp = self.policy.log_distribution(states, self.temperature)
        tokens = logp.argmax(-1) if greedy else self._choose(logp, live)
        chosen = logp.gather(1, tokens[:, None])[:, 0]
        if not torch.isfinite(chosen).all():
            raise NonFiniteError(
                "the policy's log-probabilities are not finite: its weights have diverged; restart, or resume from an "
                "earlier checkpoint, with a lower algorithm.optimizer.lr"
            )
        columns = zip(live, tokens.tolist(), chosen.tolist(), entropy(logp).tolist(), strict=True)
        for branch, token, logprob, nats in columns:
            branch.trajectory.append_sampled(token, logprob, nats)
            branch.pending.append(token)
            if token not in self._pieces:  # tags are ASCII, so a character that is split over tokens does no harm
                self._pieces[token] = self.policy.tokenizer.decode([token])
            branch.tail = branch.tail[-32:] + self._pieces[token]

    def _choose(self, logp: torch.Tensor, live: list[Branch]) -> torch.Tensor:
        """The next token [R] of each branch. logp: [R, V]."""
        return draw(logp, torch.tensor([branch.random.random() for branch in live], dtype=torch.float64))

    def _turn_is_over(self, branch: Branch) -> bool:
        ended = branch.trajectory.ids[-1] == self.policy.end_of_turn
        return ended or any(text in branch.tail for text in self.dialogue.tools.stop_texts)

    def _end_turn(self, branch: Branch) -> bool:
        """Read the turn. If the policy gets another one, compute its observation next and return True."""
        trajectory = branch.trajectory
        ids = trajectory.ids[branch.turn_start :]
        text = self.policy.tokenizer.decode(ids[:-1] if ids[-1] == self.policy.end_of_turn else ids)
        text = text if trajectory.turns else branch.prompt.prefill + text
        observation = self.environment.answer(branch, text, self._turn_is_over(branch))
        if observation is None:
            return False
        branch.pending += observation.ids
        branch.images += observation.images
        return True


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
