"""Answers that are boxes: how they are read, and the reward terms of VLM-R1 (arXiv 2504.07615).

The box counts in the frame of the picture shown (``frames``); it is compared in pixels of the original.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loupe.errors import UserError, require_int, require_number
from loupe.geometry import Box, Frame, area, overlap
from loupe.records import Example, Trajectory

HIT = 0.5
"""From this IoU on a box counts as right: accuracy@0.5, as the RefCOCO benchmarks define it."""

LIST = re.compile(r"\[([^\[\]]*)\]")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|nan|inf(?:inity)?)", re.IGNORECASE)


class BoxError(StrEnum):
    """Why an answer is no box; it earns 0."""

    NO_ANSWER = "no_answer"
    MALFORMED = "malformed"
    """nowhere four numbers in brackets"""
    NOT_FINITE = "not_finite"
    REVERSED = "reversed"
    """no width or no height, or a corner on the wrong side"""
    OUT_OF_FRAME = "out_of_frame"


def read_box(answer: str | None, frame: Frame, within: bool = True) -> Box | BoxError:
    """The first complete box [x1, y1, x2, y2] in an answer, JSON or not, in original pixels.

    within: whether one that leaves the frame is an error.
    """
    if not answer:
        return BoxError.NO_ANSWER
    boxes = complete_boxes(answer)
    if not boxes:
        return BoxError.MALFORMED
    box = boxes[0]
    if not all(map(math.isfinite, box)):
        return BoxError.NOT_FINITE
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return BoxError.REVERSED
    if within and (x1 < 0 or y1 < 0 or x2 > frame.extent[0] or y2 > frame.extent[1]):
        return BoxError.OUT_OF_FRAME
    return (*frame.to_original(x1, y1), *frame.to_original(x2, y2))


def complete_boxes(text: str) -> list[list[float]]:
    """Every four numbers in brackets, whatever they are."""
    return [box for found in LIST.finditer(text) if (box := _numbers(found[1]))]


def _numbers(text: str) -> list[float] | None:
    """Four numbers between commas; None for anything else."""
    parts = [part.strip() for part in text.split(",")]
    return [float(part) for part in parts] if len(parts) == 4 and all(map(NUMBER.fullmatch, parts)) else None


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes of positive area."""
    shared = overlap(one, other)
    return shared / (area(one) + area(other) - shared)


def iou(trajectory: Trajectory, example: Example) -> float:
    """The reward term: :func:`answer_iou`, but 0 also for a box that leaves the frame.

    Raises UserError for an example whose answer is not a box.
    """
    if example.answer_box is None:
        raise UserError(f"{example.id}: its answer is no box; the reward term iou needs data=boxes or data=refcoco")
    strays = read_box(trajectory.answer, trajectory.frame) is BoxError.OUT_OF_FRAME
    return 0.0 if strays else answer_iou(trajectory, example)


def answer_iou(trajectory: Trajectory, example: Example) -> float:
    """Intersection over union of the answered box with the right one, as the benchmarks take it; 0 without a box."""
    box = read_box(trajectory.answer, trajectory.frame, within=False)
    return 0.0 if isinstance(box, BoxError) else box_iou(box, example.answer_box)


@dataclass(frozen=True)
class IouAbove:
    """A reward term: 1 if the IoU is at least the threshold of the stage that training has reached, else 0.

    stages: pairs of a step and the threshold that holds from it on, e.g. [[0, 0.5], [100, 0.75]].
    """

    stages: Sequence[tuple[int, float]]

    def __post_init__(self) -> None:
        for stage in self.stages:
            if not isinstance(stage, list | tuple) or len(stage) != 2:
                raise UserError(f"iou_above.stages: {stage} is not [step, threshold]")
            require_int("iou_above.stages: step", stage[0], 0)
            if require_number("iou_above.stages: threshold", stage[1], 0, above=True) > 1:
                raise UserError(f"iou_above.stages: threshold={stage[1]}: must be at most 1")
        if not self.stages or self.stages[0][0] != 0 or sorted(self.stages) != list(self.stages):
            raise UserError(f"iou_above.stages={list(self.stages)}: must begin at step 0 and go up")

    def at(self, step: int) -> Callable[[Trajectory, Example], float]:
        """The term at optimiser step ``step``."""
        threshold = [threshold for begins, threshold in self.stages if begins <= step][-1]
        return lambda trajectory, example: float(iou(trajectory, example) >= threshold)


@dataclass(frozen=True)
class Length:
    """A reward term: what was written as a share of ``tokens``, at most 1. With a negative weight it shortens."""

    tokens: int

    def __post_init__(self) -> None:
        require_int("length.tokens", self.tokens, 1)

    def __call__(self, trajectory: Trajectory, example: Example) -> float:
        return min(1.0, trajectory.n_sampled / self.tokens)
