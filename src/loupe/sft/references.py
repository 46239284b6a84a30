"""Traces from the reference answers of questions: the supervised baseline, which needs no exchange."""

import logging
from collections import Counter
from collections.abc import Sequence

from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.errors import BadExample, UserError
from loupe.geometry import Frame
from loupe.records import Example
from loupe.rewards.normalize import normalize_answer
from loupe.sft.recorded import ids, question
from loupe.sft.traces import Trace
from loupe.tags import read_turn, tagged

LOG = logging.getLogger(__name__)
REFERENCES = "references"
ANSWER = "{answer}"


def read_references(data: LoupeDataModule, splits: Sequence[str]) -> list[Trace]:
    """A trace for each question of these splits that has a reference answer; the others are counted in the log.

    Raises UserError if there is none.
    """
    traces: list[Trace] = []
    for split in splits:
        without: list[int] = []
        names = list(ids(getattr(data, split) or []))
        LOG.info("reading the %d reference answers of the %s split", len(names), split)
        for index, name in enumerate(names):
            asked = question(data, split, index)
            if asked.answered:
                traces.append(Trace(name, asked.example, name, asked.picture))
            else:
                without.append(index)
        tables.report_skipped(f"{split} questions", "without a reference answer", without)
    if not traces:
        raise UserError(f"traces={REFERENCES}: data has no questions with a reference answer in {', '.join(splits)}")
    return traces


def require_template(template: object) -> str:
    """``template`` if it is a text in which ``{answer}`` stands once. Raises UserError otherwise."""
    if not isinstance(template, str) or template.count(ANSWER) != 1:
        raise UserError(f"reference_turn={template!r}: must be text that contains {ANSWER} once")
    return template


def require_answer(template: str, tag: str, prefill: str) -> None:
    """Raise UserError if no turn of this form can be right: without a complete ``<answer>``, with a call (``tag``), or
    with another beginning than ``prefill``, which is written for the policy.
    """
    turn = read_turn(template, tag)
    if not turn.answered or turn.attempted:
        fault = f"must have {ANSWER} in <answer></answer>, and no call"
    elif ANSWER not in tagged(template, "answer")[-1]:
        fault = f"must have {ANSWER} in its last <answer></answer>"
    elif not template.startswith(prefill):
        fault = f"must begin with prompt.prefill={prefill!r}"
    else:
        return
    raise UserError(f"reference_turn={template!r}: {fault}")


def reference_turn(template: str, example: Example, frame: Frame) -> str:
    """The template with the reference answer in the place of ``{answer}``.

    That is the box, in whole numbers of the frame; the letter of the correct option; or the most frequent reference,
    where references count as the same if their scores agree (``normalize_answer``); the first one of those that are
    equally frequent. Raises BadExample for a box that is lost in rounding.
    """
    if example.answer_box is None:
        ((winner, _),) = Counter(map(normalize_answer, example.references)).most_common(1)
        answer = next(reference for reference in example.references if normalize_answer(reference) == winner)
        return template.replace(ANSWER, answer)
    x1, y1, x2, y2 = box = frame.of_original(example.answer_box)
    if x1 >= x2 or y1 >= y2:
        raise BadExample(f"the box is rounded to {box}, which is empty; raise resolution, or drop the row")
    return template.replace(ANSWER, str(box))
