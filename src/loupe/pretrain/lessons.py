"""Lessons: conversations about a picture to learn from, token for token in the form that the rollout produces.

A picture has several lessons. They are laid out like a group: what they share (system prompt and picture) once, each
lesson as a branch behind it.
"""

from dataclasses import dataclass, field
from itertools import takewhile

import torch

from loupe.records import ImagePatches

Part = tuple[str, float]
"""A piece of text that the policy is to write, and the loss weight of its tokens."""


@dataclass
class Lesson:
    """A conversation. weights: the loss weight of each token, 0 for tokens that the policy does not write."""

    ids: list[int]
    images: list[ImagePatches]
    weights: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [0.0] * len(self.ids)

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
    """One prefix per picture, which its lessons share, and every lesson's own continuation."""
    prefixes: list[tuple[list[int], list[ImagePatches]]] = []
    branches: list[tuple[int, list[int], list[ImagePatches]]] = []
    marks, start = [], 0
    for row, lessons in enumerate(pictures):
        shared = _shared(lessons)
        prefixes.append((shared, lessons[0].images[:1]))
        for lesson in lessons:
            ids, weights = lesson.ids[len(shared) :], lesson.weights[len(shared) :]
            number = len(branches)
            marks += [(start + i - 1, ids[i], weight, number) for i, weight in enumerate(weights) if weight]
            branches.append((row, ids, lesson.images[1:]))
            start += len(ids)
    return LessonBatch(prefixes, branches, *map(torch.tensor, zip(*marks, strict=True)))


def _shared(lessons: list[Lesson]) -> list[int]:
    """The tokens with which all lessons begin, so few that no lesson goes on with a weighted token."""
    longest = min(next(i for i, weight in enumerate(lesson.weights) if weight) for lesson in lessons) - 1
    columns = zip(*(lesson.ids[:longest] for lesson in lessons), strict=True)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
