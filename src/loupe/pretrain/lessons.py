"""Lessons: conversations about a picture to learn from, token for token in the form that the rollout produces.

A picture has several lessons. They are packed like a group: what they share (system prompt and picture) once, each
lesson as a branch behind it (``engine.packing``).
"""

from dataclasses import dataclass, field
from itertools import takewhile

import torch

from loupe.engine.packing import PREFIX, Packed, Segment, pack
from loupe.engine.policy import Policy
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
    """Lessons as tensors, each [N] for the N tokens with a weight.

    rows, columns: their positions in ``packed``. targets: their ids. weights: their loss weights. lesson: the lesson
    that each belongs to, numbered in the order given.
    """

    packed: Packed
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    lesson: torch.Tensor


def pack_lessons(pictures: list[list[Lesson]], policy: Policy) -> LessonBatch:
    """One row per picture: the prefix that its lessons share, then every lesson's own continuation."""
    rows, marks, count = [], [], 0
    for row, lessons in enumerate(pictures):
        segments = _segments(lessons, policy)
        column = len(segments[0].ids)
        for lesson, segment in zip(lessons, segments[1:], strict=True):
            own = lesson.weights[-len(segment.ids) :]
            marks += [(row, column + i, segment.ids[i], weight, count) for i, weight in enumerate(own) if weight]
            column, count = column + len(segment.ids), count + 1
        rows.append(segments)
    packed = pack(rows, policy.pad_token, torch.device("cpu"))
    return LessonBatch(packed, *map(torch.tensor, zip(*marks, strict=True)))


def _segments(lessons: list[Lesson], policy: Policy) -> list[Segment]:
    """The prefix and a branch per lesson. The prefix ends early enough that no branch starts with a weighted token."""
    longest = min(next(i for i, weight in enumerate(lesson.weights) if weight) for lesson in lessons) - 1
    columns = zip(*(lesson.ids[:longest] for lesson in lessons), strict=True)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    prefix, after = policy.segment(PREFIX, shared, lessons[0].images[:1], 0)
    branches = (
        policy.segment(owner, lesson.ids[len(shared) :], lesson.images[1:], after)
        for owner, lesson in enumerate(lessons, start=1)
    )
    return [prefix, *(segment for segment, _ in branches)]
