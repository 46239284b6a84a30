"""What a decoder is: the part of a rollout that computes tokens and knows nothing of tools.

The dialogue loop (``rollout``) is the same for all of them; they differ in where keys and values are kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from loupe.engine.dialogue import Observation
from loupe.engine.environment import Exchange
from loupe.engine.forbidden import Forbidden
from loupe.engine.policy import Policy
from loupe.records import Group, Trajectory

THOUGHT_END = "</think>"

Random = Callable[[Group, Trajectory], np.random.Generator]
"""The random numbers of a trajectory, which depend on nothing but its own key."""


@dataclass(eq=False)
class Branch(Exchange):
    """A trajectory that is being sampled.

    turn_start: the number of its tokens before the present turn. waiting: whether it waits for the tag that is forced
    on it, once its thought has ended. due: tokens that must be sampled next.
    """

    random: np.random.Generator
    turn_start: int = 0
    waiting: bool = False
    due: list[int] = field(default_factory=list)
    tail: str = ""  # end of the decoded turn, long enough for any stop text

    @property
    def length(self) -> int:
        """The tokens of the present turn so far."""
        return len(self.trajectory.ids) - self.turn_start


def leaves_a_thought(prefill: str) -> bool:
    """Whether a turn that begins like this still has a thought to end, after which a tag can be forced."""
    return THOUGHT_END not in prefill and "<answer" not in prefill


class Turns:
    """Writes turns down token by token, and knows where they end: at the token for it, or at the text of a tag.

    forbidden: the name of a tag that the policy cannot begin. learned: whether forced tags are sampled tokens.
    """

    def __init__(self, policy: Policy, stop_texts: Iterable[str], forbidden: str | None = None, learned: bool = False):
        self.policy, self.stop_texts, self.learned = policy, tuple(stop_texts), learned
        self.forbidden = Forbidden(policy, forbidden) if forbidden else None
        self.pieces: dict[int, str] = {}  # the text of each token by itself

    def begin(self, branch: Branch) -> None:
        """A turn begins here."""
        branch.turn_start, branch.tail = len(branch.trajectory.ids), ""

    def append(self, branch: Branch, token: int, logprob: float, entropy: float | None) -> None:
        """Add a sampled token to the turn."""
        branch.trajectory.append_sampled(token, logprob, entropy)
        if token not in self.pieces:  # tags are ASCII, so a character that is split over tokens does no harm
            self.pieces[token] = self.policy.tokenizer.decode([token])
        branch.tail = branch.tail[-32:] + self.pieces[token]

    def over(self, branch: Branch) -> bool:
        """Whether the policy has ended the turn, or come to where a tag is forced on it."""
        ended = branch.trajectory.ids[-1] == self.policy.end_of_turn
        return ended or any(text in branch.tail for text in self.stops(branch))

    def stops(self, branch: Branch) -> tuple[str, ...]:
        """The texts at which the policy stops writing."""
        return (*self.stop_texts, THOUGHT_END) if branch.waiting else self.stop_texts

    def force(self, branch: Branch, room: int) -> list[int]:
        """Write the beginning of the tag that is forced on a branch, or have it sampled if it is to be learned. Returns
        its tokens. There are none, and nothing is forced, where the thought has not ended, where its last token began
        something else, or where the turn has no ``room`` for more tokens than these.

        A tag of several tokens is left open, because the last may merge with what follows it.
        """
        trajectory, branch.waiting = branch.trajectory, False
        _, ended, begun = branch.tail.rpartition(THOUGHT_END)
        begun, tag = begun.lstrip(), f"<{trajectory.forced}>"
        rest = tag.removeprefix(begun)  # the token that ends the thought may hold the bracket as well: "><"
        ids = self.policy.tokenizer.encode(rest, add_special_tokens=False)
        if len(ids) > 1:
            ids = self.policy.tokenizer.encode(rest[:-1], add_special_tokens=False)
        if not ended or not tag.startswith(begun) or room <= len(ids):
            trajectory.forced = None
            return []
        branch.tail = begun
        if self.learned:
            branch.due = ids.copy()
        else:
            trajectory.append_written(ids, [])
            branch.tail += self.policy.tokenizer.decode(ids)
        return ids

    def text(self, branch: Branch) -> str:
        """What the policy wrote in the turn, without the token that ends it."""
        ids = branch.trajectory.ids[branch.turn_start :]
        return self.policy.tokenizer.decode(ids[:-1] if ids[-1] == self.policy.end_of_turn else ids)


@dataclass(frozen=True)
class Sampling:
    """How a batch is sampled. max_tokens: of a turn. greedy: always the most probable token."""

    turns: Turns
    temperature: float
    max_tokens: int
    greedy: bool

    def room(self, branch: Branch) -> int:
        """The tokens that the present turn may still take."""
        return self.max_tokens - branch.length


B = TypeVar("B", bound=Branch)


class Batch(Protocol[B]):
    """Groups that are decoded together. branches: one for each trajectory, in the order of the groups."""

    branches: list[B]

    def decode(self, live: Sequence[B]) -> None:
        """Sample a turn of each of these branches, token by token; the others are over."""

    def observe(self, branch: B, observation: Observation) -> None:
        """``observation`` follows the turn of ``branch``; its tokens are in the trajectory already."""


class Decoder(Protocol):
    """Computes what the policy writes."""

    def prefill(self, groups: list[Group], random: Random, sampling: Sampling) -> Batch[Any]:
        """Begin to decode groups, whose trajectories are still empty."""
        ...

    def refresh(self) -> None:
        """The policy's weights have changed: whatever was computed with the earlier ones must not be used again."""

    def release(self) -> None:
        """Leave the memory to the update, until something is decoded again."""
