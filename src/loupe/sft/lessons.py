"""Lessons: conversations about a picture to learn from, token for token in the form that the rollout produces.

A picture has several lessons. They are laid out like a group: what they share (system prompt and picture) once, each
lesson as a branch behind it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

import torch

from loupe.engine.policy import Policy
from loupe.records import ImagePatches, Prompt, Trajectory

Part = tuple[str, float]
"""A piece of text that the policy is to write, and the loss weight of its tokens."""


@dataclass
class Lesson:
    """A conversation, made of its prompt.

    weights: the loss weight of each token, 0 for tokens that the policy does not write. shown: pictures of the prompt.
    """

    ids: list[int]
    images: list[ImagePatches]
    weights: list[float] = field(init=False)
    shown: int = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [0.0] * len(self.ids)
        self.shown = len(self.images)

    @classmethod
    def of(cls, prompt: Prompt, trajectory: Trajectory) -> "Lesson":
        """A trajectory as a lesson, in which all sampled tokens count alike."""
        lesson = cls(list(prompt.ids), list(prompt.images))
        lesson.append_written(trajectory.ids, trajectory.images)
        lesson.weights[len(prompt.ids) :] = map(float, trajectory.sampled)
        return lesson

    def append_written(self, ids: list[int], images: list[ImagePatches]) -> None:
        """Add tokens that the environment writes, and the pictures behind their placeholders."""
        self.ids += ids
        self.weights += [0.0] * len(ids)
        self.images += images

    def append_turn(self, tokenizer, parts: list[Part]) -> None:
        """Add a turn of the policy, tokenized as a whole; a token across two parts gets the larger weight."""
        text = "".join(part for part, _ in parts)
        weight_at = [weight for part, weight in parts for _ in part]
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        self.ids += encoded["input_ids"]
        self.weights += [max(weight_at[start:end]) for start, end in encoded["offset_mapping"]]


@dataclass(frozen=True)
class LessonBatch:
    """Lessons as a batch of prefixes and branches, for ``Policy.encode_prefixes`` and ``Policy.branch_states``.

    The rest are tensors [N] for the N tokens with a weight. places: of the token before, among those of all branches.
    targets: their ids. weights: their loss weights. lesson: the lesson that each belongs to, in the order given.
    """

    prefixes: list[tuple[list[int], list[ImagePatches]]]
    branches: list[tuple[int, list[int], list[ImagePatches]]]
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    lesson: torch.Tensor


def batch_lessons(pictures: list[list[Lesson]]) -> LessonBatch:
    """One prefix per picture, which its lessons share, and every lesson's own continuation.

    What the lessons of a picture share must include all pictures of their prompts.
    """
    prefixes: list[tuple[list[int], list[ImagePatches]]] = []
    branches: list[tuple[int, list[int], list[ImagePatches]]] = []
    marks, start = [], 0
    for row, lessons in enumerate(pictures):
        shared = _shared(lessons)
        prefixes.append((shared, lessons[0].images[: lessons[0].shown]))
        for lesson in lessons:
            ids, weights = lesson.ids[len(shared) :], lesson.weights[len(shared) :]
            number = len(branches)
            marks += [(start + i - 1, ids[i], weight, number) for i, weight in enumerate(weights) if weight]
            branches.append((row, ids, lesson.images[lesson.shown :]))
            start += len(ids)
    return LessonBatch(prefixes, branches, *map(torch.tensor, zip(*marks, strict=True)))


def _shared(lessons: list[Lesson]) -> list[int]:
    """The tokens with which all lessons begin, so few that no lesson goes on with a weighted token."""
    longest = min(next(i for i, weight in enumerate(lesson.weights) if weight) for lesson in lessons) - 1
    columns = zip(*(lesson.ids[:longest] for lesson in lessons), strict=True)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


def micro_batches(pictures: Iterable[list[Lesson]], token_budget: int) -> Iterator[LessonBatch]:
    """Lessons in batches of at most so many tokens, padding included; a single lesson may exceed them.

    A picture whose lessons do not fit into one batch is in several. Those of similar length share a batch.
    """
    parts = sorted(((part, size) for lessons in pictures for part, size in _parts(lessons, token_budget)), key=_size)
    batch: list[list[Lesson]] = []
    for part, size in parts:  # in ascending order, so that this one is the longest row
        if batch and (len(batch) + 1) * size > token_budget:
            yield batch_lessons(batch)
            batch = []
        batch.append(part)
    if batch:
        yield batch_lessons(batch)


def _size(part: tuple[list[Lesson], int]) -> int:
    return part[1]


def _parts(lessons: list[Lesson], token_budget: int) -> Iterator[tuple[list[Lesson], int]]:
    """The lessons of a picture in parts within the budget, with the tokens of each."""
    shared = len(_shared(lessons))
    part, size = [lessons[0]], len(lessons[0].ids)
    for lesson in lessons[1:]:
        own = len(lesson.ids) - shared
        if size + own > token_budget:
            yield part, size
            part, size = [], shared
        part, size = [*part, lesson], size + own
    yield part, size


def states(policy: Policy, batch: LessonBatch) -> torch.Tensor:
    """The hidden states [N, D] before the weighted tokens."""
    places = batch.places.to(policy.device)
    return policy.branch_states(policy.encode_prefixes(batch.prefixes), batch.branches)[places]


def hits(policy: Policy, batch: LessonBatch) -> torch.Tensor:
    """Whether each weighted token [N] is the most likely one."""
    return policy.log_distribution(states(policy, batch), temperature=1.0).argmax(-1) == batch.targets.to(policy.device)


def logprobs(policy: Policy, batch: LessonBatch) -> torch.Tensor:
    """The log-probability [N] of each weighted token."""
    return policy.token_scores(states(policy, batch), batch.targets.to(policy.device), temperature=1.0)[0]
