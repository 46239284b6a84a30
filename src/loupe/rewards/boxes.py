"""Answers that are boxes: reading them, and the reward terms of VLM-R1 (arXiv 2504.07615).

A box is written in the coordinate frame of the prompt (``geometry.Frame``) and compared in pixels of the original.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loupe.errors import UserError, require_int, require_number
from loupe.geometry import Box, Frame, area, overlap
from loupe.records import Group, Trajectory

HIT = 0.5
"""The IoU from which a box counts as correct: accuracy@0.5, as the RefCOCO benchmarks define it."""

NUMBER = r"\s*((?>[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|nan|inf(?:inity)?)))\s*"
BOX = re.compile(rf"\[{','.join([NUMBER] * 4)}\]", re.IGNORECASE)
WHOLE_BOX = r"\[\d+,\s*\d+,\s*\d+,\s*\d+\]"
BOX_FORM = [re.compile(part) for part in ("<think>", r"</think>\s*<answer>", r"\{", WHOLE_BOX, r"\}", "</answer>")]
"""What VLM-R1's format reward looks for, in this order, with anything between."""


class BoxError(StrEnum):
    """Why an answer is not a valid box. Such an answer earns 0."""

    NO_ANSWER = "no_answer"
    MALFORMED = "malformed"
    """no four numbers in brackets"""
    NOT_FINITE = "not_finite"
    REVERSED = "reversed"
    """zero or negative width or height"""
    OUT_OF_FRAME = "out_of_frame"


def read_box(answer: str | None, frame: Frame, within: bool = True) -> Box | BoxError:
    """The first complete box [x1, y1, x2, y2] in an answer, JSON or not, in original pixels.

    within: whether a box that extends beyond the frame is an error.
    """
    if not answer:
        return BoxError.NO_ANSWER
    if not (boxes := complete_boxes(answer)):
        return BoxError.MALFORMED
    x1, y1, x2, y2 = box = boxes[0]
    if not all(map(math.isfinite, box)):
        return BoxError.NOT_FINITE
    if x1 >= x2 or y1 >= y2:
        return BoxError.REVERSED
    if within and (x1 < 0 or y1 < 0 or x2 > frame.extent[0] or y2 > frame.extent[1]):
        return BoxError.OUT_OF_FRAME
    scaled = (*frame.to_original(x1, y1), *frame.to_original(x2, y2))
    return scaled if math.isfinite(area(scaled)) else BoxError.NOT_FINITE


def complete_boxes(text: str) -> list[list[float]]:
    """All groups of four numbers in brackets, valid as boxes or not."""
    return [list(map(float, found.groups())) for found in BOX.finditer(text)]


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes of positive area."""
    shared = overlap(one, other)
    return shared / (area(one) + area(other) - shared)


def iou(trajectory: Trajectory, group: Group) -> float:
    """The reward term: :func:`answer_iou`, but 0 for a box that extends beyond the frame.

    Raises UserError for a question whose answer is not a box.
    """
    example = group.example
    if example.answer_box is None:
        fix = "choose another reward or, if these data are boxes, data.metric=iou, which skips rows without one"
        raise UserError(f"{example.id}: the answer is not a box, which the reward term iou needs; {fix}")
    strays = read_box(trajectory.answer, group.prompt.frame) is BoxError.OUT_OF_FRAME
    return 0.0 if strays else answer_iou(trajectory, group)


def answer_iou(trajectory: Trajectory, group: Group) -> float:
    """Intersection over union of the answered and the correct box, as the benchmarks compute it; 0 without a box."""
    box, correct = read_box(trajectory.answer, group.prompt.frame, within=False), group.example.answer_box
    return 0.0 if isinstance(box, BoxError) or correct is None else box_iou(box, correct)


def format_box(trajectory: Trajectory, group: Group) -> float:
    """1 if the response has the form that VLM-R1 rewards, else 0: somewhere a thought, then an answer with a box of
    four whole numbers in braces. Unlike :func:`terms.well_formed`, it allows other text around them.
    """
    text, start = trajectory.text, 0
    for part in BOX_FORM:  # one at a time, because a single pattern would take cubic time
        if (found := part.search(text, start)) is None:
            return 0.0
        start = found.end()
    return 1.0


@dataclass(frozen=True)
class IouAbove:
    """A reward term: 1 if the IoU reaches the threshold of the current stage of training, else 0.

    stages: pairs of a step and the threshold from that step on, e.g. [[0, 0.5], [100, 0.75]].
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
            raise UserError(f"iou_above.stages={list(self.stages)}: must start at step 0 and increase")

    def at(self, step: int) -> Callable[[Trajectory, Group], float]:
        threshold = [threshold for begins, threshold in self.stages if begins <= step][-1]
        return lambda trajectory, group: float(iou(trajectory, group) >= threshold)


@dataclass(frozen=True)
class Length:
    """A reward term: sampled tokens / ``tokens``, at most 1. A negative weight makes answers shorter."""

    tokens: int

    def __post_init__(self) -> None:
        require_int("length.tokens", self.tokens, 1)

    def __call__(self, trajectory: Trajectory, group: Group) -> float:
        return min(1.0, trajectory.n_sampled / self.tokens)
