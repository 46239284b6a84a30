"""The reward terms: functions of (trajectory, group), each between 0 and 1.

The scores of the answer and the two shaping terms follow arXiv 2506.14821. No term has a floor, and the tool term pays
for executed calls only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import Levenshtein

from loupe.errors import UserError, require_int
from loupe.records import Example, Group, Trajectory, TrajectoryType
from loupe.rewards.boxes import HIT, answer_iou, iou
from loupe.rewards.choice import LETTERS, chosen_option
from loupe.rewards.matching import contains_score, exact_score, number_score
from loupe.rewards.normalize import normalize_answer

AGREEING = 3
"""How many references must agree for a full score, and how many of the best similarities are averaged."""

_BODY = r"(?:(?!</?(?:think|tool|tool_call|answer)>).)*"
_TURN = r"\s*<think>{body}</think>\s*<{tag}>{body}</{end}>\s*"
TOOL_TURN = re.compile(_TURN.format(body=_BODY, tag="tool(?P<call>_call)?", end="tool(?(call)_call)"), re.DOTALL)
ANSWER_TURN = re.compile(_TURN.format(body=_BODY, tag="answer", end="answer"), re.DOTALL)


def accuracy(trajectory: Trajectory, group: Group) -> float:
    """The score of the answer, 0 if there is none: by ``SCORES``, as the example asks for (:func:`vqa_score` by
    default); for multiple choice, whether it names the correct option (:func:`chosen_option`); for boxes, whether its
    IoU with the correct box is at least 0.5.
    """
    answer, example = trajectory.answer, group.example
    if not answer:
        return 0.0
    if example.answer_box:
        return float(answer_iou(trajectory, group) >= HIT)
    if example.options:
        number = chosen_option(answer, example.options)
        return float(number is not None and LETTERS[number] == example.references[0])
    return SCORES[example.metric](answer, example.references)


def accuracy_leave_one_out(trajectory: Trajectory, group: Group) -> float:
    """:func:`vqa_score_leave_one_out` of the answer, 0 if there is none; without VQA accuracy :func:`accuracy`."""
    if not trajectory.answer or not has_vqa_accuracy(group.example):
        return accuracy(trajectory, group)
    return vqa_score_leave_one_out(trajectory.answer, group.example.references)


def has_vqa_accuracy(example: Example) -> bool:
    """Whether the score of an answer is its VQA accuracy."""
    return example.metric == "vqa" and not example.options and not example.answer_box


def soft(trajectory: Trajectory, group: Group) -> float:
    """:func:`soft_score` of the answer, 0 if there is none or it is empty; for ``exact`` the similarity to the nearest
    reference; for boxes the IoU with the correct box. For multiple choice, ``contains`` and ``number`` it is
    :func:`accuracy`, because letters, sentences and numbers that look alike do not mean the same.
    """
    answer, example = trajectory.answer, group.example
    if example.answer_box:
        return iou(trajectory, group)
    if example.options or example.metric in ("contains", "number"):
        return accuracy(trajectory, group)
    if not answer:
        return 0.0
    if example.metric == "exact":
        return max(soft_score(answer, [reference]) for reference in example.references)
    return soft_score(answer, example.references)


def well_formed(trajectory: Trajectory, group: Group) -> float:
    """1 if the whole response is well-formed, else 0. The key of this term is ``format``.

    Every turn but the last is ``<think>..</think><tool>..</tool>`` (or ``<tool_call>``), the last one
    ``<think>..</think><answer>..</answer>``, with only white space around and between; the content is free, but
    contains none of these tags.
    """
    if not trajectory.turns:
        return 0.0
    *calls, last = trajectory.turns
    return float(all(TOOL_TURN.fullmatch(turn) for turn in calls) and bool(ANSWER_TURN.fullmatch(last)))


def tool(trajectory: Trajectory, group: Group) -> float:
    """1 if at least one call was executed, whatever it pointed at; failed calls earn nothing."""
    return float(trajectory.type is TrajectoryType.TOOL_SUCCESS)


def tool_if_correct(trajectory: Trajectory, group: Group) -> float:
    """:func:`tool`, but only for a trajectory whose own answer is correct."""
    return tool(trajectory, group) if accuracy(trajectory, group) > 0 else 0.0


@dataclass(frozen=True)
class Overlong:
    """How far the longest turn reaches into the last ``cache`` of the ``tokens`` that a turn may have: 0 before them,
    1 at the end.

    With a weight of -1 it is the soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13). There a response is cut
    off at its maximal length; here a turn is (``rollout.max_new_tokens``).
    """

    tokens: int
    cache: int

    def __post_init__(self) -> None:
        require_int("overlong.tokens", self.tokens, 1)
        require_int("overlong.cache", self.cache, 1, self.tokens)

    def __call__(self, trajectory: Trajectory, group: Group) -> float:
        longest = max(trajectory.turn_lengths, default=0)
        return min(1.0, max(0.0, (longest - (self.tokens - self.cache)) / self.cache))


def vqa_score(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy (arXiv 1505.00468), simple form: min(1, matches / 3) over all references.

    Both sides are normalized; with n < 3 references the denominator is n. Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    return _agreement(answer, references)


def vqa_score_leave_one_out(answer: str, references: Sequence[str]) -> float:
    """VQA accuracy as TextVQA publishes it: the mean of :func:`vqa_score` over the sets that lack one reference.

    With 10 references, 1, 2, 3 and 4 matches give 0.3, 0.6, 0.9 and 1. A single reference is scored in the simple
    form. Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    if len(references) == 1:
        return _agreement(answer, references)
    return fmean(_agreement(answer, references[:i] + references[i + 1 :]) for i in range(len(references)))


def soft_score(answer: str, references: Sequence[str]) -> float:
    """Mean of the three best similarities to the references (arXiv 2506.14821), or of all if there are fewer.

    The similarity is 1 - edit distance / length of the longer string, in characters, both sides normalized; two empty
    strings are equal. Raises UserError without references.
    """
    answer, references = _normalized(answer, references)
    return fmean(sorted((_similarity(answer, reference) for reference in references), reverse=True)[:AGREEING])


SCORES = {"vqa": vqa_score, "exact": exact_score, "contains": contains_score, "number": number_score}
"""The scores of an answer in words, by ``Example.metric``."""


def _normalized(answer: str, references: Sequence[str]) -> tuple[str, list[str]]:
    if not references:
        raise UserError("no reference answers to score against; use a split with answers")
    return normalize_answer(answer), [normalize_answer(reference) for reference in references]


def _agreement(answer: str, references: list[str]) -> float:
    return min(1.0, references.count(answer) / min(AGREEING, len(references)))


def _similarity(a: str, b: str) -> float:
    return 1 - Levenshtein.distance(a, b) / max(len(a), len(b), 1)
