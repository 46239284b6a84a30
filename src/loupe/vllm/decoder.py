"""The vLLM decoder: an engine writes the turns; token ids go in and token ids come out.

A request is the whole dialogue so far, of which the engine finds the beginning in its prefix cache. It is checked every
time that the engine has read exactly these tokens, pictures included, and has ended the turn where the policy did.
"""

from collections.abc import Callable, Sequence

from loupe.engine import update
from loupe.engine.decoder import Branch, Random, Sampling
from loupe.engine.dialogue import Observation
from loupe.engine.invariants import InvariantError
from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.records import Group
from loupe.vllm.canary import BUDGET, Canary
from loupe.vllm.protocol import PICTURES, Engine, Request, Written, request

SEEDS = 2**31


class VllmDecoder:
    """See ``engine.decoder.Decoder``.

    start: makes the engine, with the policy's weights of that moment, when something is decoded for the first time.
    context: tokens that a dialogue may have.
    """

    def __init__(self, start: Callable[[], Engine], canary: Canary, context: int):
        self.start, self.canary, self.context = start, canary, context
        self.engine: Engine | None = None
        self.stale = True  # whether the policy has other weights than the engine

    def prefill(self, groups: list[Group], random: Random, sampling: Sampling) -> "VllmBatch":
        """Make sure that the engine has the policy's weights."""
        if self.engine is None:
            self.engine = self.start()
        elif self.stale:
            self.engine.refresh()
        if self.stale:
            self.canary.check(self.engine, groups[0], sampling)
            self.stale = False
        return VllmBatch(self.engine, self.canary.policy, self.context, groups, random, sampling)

    def refresh(self) -> None:
        """The engine takes over the weights before it writes again."""
        self.stale = True

    def release(self) -> None:
        """Free the memory that the engine has on a GPU."""
        if self.engine is not None:
            self.engine.release()


class VllmBatch:
    """See ``engine.decoder.Batch``."""

    def __init__(
        self, engine: Engine, policy: Policy, context: int, groups: list[Group], random: Random, sampling: Sampling
    ):
        self.engine, self.policy, self.context = engine, policy, context
        self.groups, self.sampling = groups, sampling
        self.branches = [
            Branch(trajectory, group.prompt, random(group, trajectory))
            for group in groups
            for trajectory in group.trajectories
        ]

    def decode(self, live: Sequence[Branch]) -> None:
        """Let the engine write a turn of each branch, behind the tags that are forced and learned."""
        self._give([branch for branch in live if branch.due])
        requests = [next_request(branch, self.sampling) for branch in live]
        for asked in requests:
            self._require_room(asked)
        for branch, asked, written in zip(live, requests, self.engine.write(requests, self.sampling), strict=True):
            append(branch, asked, written, self.sampling)

    def observe(self, branch: Branch, observation: Observation) -> None:
        """The next request has the observation in it."""

    def _give(self, branches: list[Branch]) -> None:
        """Add the tokens that must be sampled next, with the probability that the policy gives them: an engine tells
        none of what it is given.
        """
        given = {id(branch.trajectory): len(branch.due) for branch in branches}
        for branch in branches:
            for token in branch.due:
                self.sampling.turns.append(branch, token, 0.0, None)
            branch.due = []
        groups = [Group(g.example, g.prompt, [t for t in g.trajectories if id(t) in given]) for g in self.groups]
        for trajectory, logprobs in update.logprobs(self.policy, groups, self.sampling.temperature, BUDGET):
            n = given[id(trajectory)]
            trajectory.logprobs[-n:] = logprobs[-n:]

    def _require_room(self, asked: Request) -> None:
        needed = len(asked.ids) + asked.max_tokens
        if needed > self.context:
            raise UserError(
                f"rollout.context={self.context}: a dialogue and its next turn may take {needed} tokens; give more, or "
                "lower resolution, prompt.max_tokens or rollout.max_new_tokens"
            )
        if len(asked.pictures) > PICTURES:
            raise UserError(f"rollout=vllm: takes {PICTURES} pictures in a dialogue, not {len(asked.pictures)}")


def next_request(branch: Branch, sampling: Sampling) -> Request:
    """The dialogue so far, with a seed for its next turn."""
    images = branch.prompt.images + branch.trajectory.images
    seed = int(branch.random.integers(SEEDS))  # depends on nothing but the trajectory's own key
    ids, stops = branch.prompt.ids + branch.trajectory.ids, sampling.turns.stops(branch)
    return request(ids, images, seed, stops, sampling.room(branch))


def append(branch: Branch, asked: Request, written: Written, sampling: Sampling) -> None:
    """Add a turn to its branch. Raises InvariantError if the engine has read other tokens, or ended it elsewhere."""
    if written.read != asked.ids:
        where = f"{len(asked.ids)} tokens with {len(asked.pictures)} pictures"
        raise InvariantError(f"vLLM has read {len(written.read)} other tokens than the {where} that it was given")
    over = False
    for token, logprob in zip(written.ids, written.logprobs, strict=True):
        if over:
            raise InvariantError(f"vLLM has gone on behind the end of a turn: {sampling.turns.text(branch)!r}")
        sampling.turns.append(branch, token, min(logprob, 0.0), None)  # rounding may put it above 0
        over = sampling.turns.over(branch)
    if not over and len(written.ids) < asked.max_tokens:
        raise InvariantError(f"vLLM has ended a turn early: {sampling.turns.text(branch)!r}")
