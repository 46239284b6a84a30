"""The reward terms: plain functions of (trajectory, example), each between 0 and 1.

The answer's scores and the two small terms follow arXiv 2506.14821. No term has a floor, and the
tool term pays for executed calls only.
"""

import re
from collections.abc import Sequence
from statistics import fmean

import Levenshtein

from loupe.errors import UserError
from loupe.records import Example, Trajectory, TrajectoryType
from loupe.rewards.boxes import HIT, answer_iou, iou
from loupe.rewards.choice import LETTERS, chosen_option
from loupe.rewards.normalize import normalize_answer

AGREEING = 3
"""References that must agree for a full score, and the best similarities that are averaged."""

_BODY = r"(?:(?!</?(?:think|tool|answer)>).)*"
_TURN = r"\s*<think>{body}</think>\s*<{tag}>{body}</{tag}>\s*"
TOOL_TURN = re.compile(_TURN.format(body=_BODY, tag="tool"), re.DOTALL)
ANSWER_TURN = re.compile(_TURN.format(body=_BODY, tag="answer"), re.DOTALL)


def hard(trajectory: Trajectory, example: Example) -> float:
    """The answer's score: :func:`vqa_score`; with options whether it names the right one; where a box is asked for
    whether its IoU with the right one is at least a half. 0 without an answer.
    """
    if not trajectory.answer:
        return 0.0
    if example.answer_box:
        return float(answer_iou(trajectory, example) >= HIT)
    if example.options:
        return float(names_right_option(trajectory.answer, example))
    return vqa_score(trajectory.answer, example.references)


def hard_leave_one_out(trajectory: Trajectory, example: Example) -> float:
    """:func:`vqa_score_leave_one_out` of the answer; 0 without one. As :func:`hard` with options and for boxes."""
    if example.options or example.answer_box or not trajectory.answer:
        return hard(trajectory, example)
    return vqa_score_leave_one_out(trajectory.answer, example.references)


def soft(trajectory: Trajectory, example: Example) -> float:
    """:func:`soft_score` of the answer; 0 without an answer or with an empty one. Options are not like one another by
    their letters: with them it is :func:`hard`. Where a box is asked for it is its IoU with the right one.
    """
    if example.answer_box:
        return iou(trajectory, example)
    if example.options:
        return hard(trajectory, example)
    return soft_score(trajectory.answer, example.references) if trajectory.answer else 0.0


def well_formed(trajectory: Trajectory, example: Example) -> float:
    """1 if the whole response has the required form, else 0. The key of this term is ``format``.

    Every turn but the last is ``<think>..</think><tool>..</tool>``, the last one
    ``<think>..</think><answer>..</answer>``, with nothing but white space around and between. What stands
    inside is not judged, except that it contains none of the six tags.
    """
    if not trajectory.turns:
        return 0.0
    *calls, last = trajectory.turns
    return float(all(TOOL_TURN.fullmatch(turn) for turn in calls) and bool(ANSWER_TURN.fullmatch(last)))


def tool(trajectory: Trajectory, example: Example) -> float:
    """1 if at least one call was executed, wherever it looked; attempts that failed earn nothing."""
    return float(trajectory.type is TrajectoryType.TOOL_SUCCESS)


def tool_if_correct(trajectory: Trajectory, example: Example) -> float:
    """As :func:`tool`, but only for a trajectory whose own answer matches a reference."""
    return tool(trajectory, example) if hard(trajectory, example) > 0 else 0.0


def names_right_option(answer: str, example: Example) -> bool:
    """Whether the answer names the option whose letter is the reference (:func:`chosen_option`)."""
    number = chosen_option(answer, example.options)
    return number is not None and LETTERS[number] == example.references[0]


def vqa_score(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy (arXiv 1505.00468), simple form: min(1, matches / 3) over all references.

    Both sides are normalised. With n < 3 references the denominator is n, so that 1 stays reachable.
    Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    return _agreement(answer, references)


def vqa_score_leave_one_out(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy as TextVQA publishes it: the mean of :func:`vqa_score` over the sets that lack one reference.

    With 10 references, 1, 2, 3 and 4 matches give 0.3, 0.6, 0.9 and 1. A single reference cannot be left
    out; it is scored in the simple form. Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    if len(references) == 1:
        return _agreement(answer, references)
    return fmean(_agreement(answer, references[:i] + references[i + 1 :]) for i in range(len(references)))


def soft_score(answer: str, references: Sequence[str]) -> float:
    """Mean of the three best similarities to the references (arXiv 2506.14821), of all if there are fewer.

    The similarity is 1 - edit distance / length of the longer string, in characters, both sides normalised.
    Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    best = sorted((_similarity(answer, reference) for reference in references), reverse=True)
    return fmean(best[:AGREEING])


def _normalized(answer: str, references: Sequence[str]) -> tuple[str, list[str]]:
    if not references:
        raise UserError("no reference answers to score against: use a split that has answers")
    return normalize_answer(answer), [normalize_answer(reference) for reference in references]


def _agreement(answer: str, references: list[str]) -> float:
    return min(1.0, references.count(answer) / min(AGREEING, len(references)))


def _similarity(a: str, b: str) -> float:
    """1 for equal strings, 0 for nothing in common; two empty strings are equal (as in ``vqa_score``)."""
    return 1 - Levenshtein.distance(a, b) / max(len(a), len(b), 1)
