"""Scores of answers in words beside VQA accuracy: 1 if an answer matches any of the references, else 0.

All take time linear in the length of the answer.
"""

import math
import re
from collections.abc import Sequence

from loupe.rewards.normalize import NUMBERS, normalize_answer

OTHER_WORDS = 8
"""How many words :func:`contains_score` allows beside the reference: those of a short sentence."""
ALTERNATIVES = re.compile(r"[;|/\n]|,(?!\d)|\bor\b|\band\b", re.IGNORECASE)
"""What separates the members of a list."""
TOLERANCE = 1e-6
"""Relative difference up to which :func:`number_score` takes two numbers for equal: the rounding of a decimal."""
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(rf"(?<![\w.])([-+]?(?:{_DIGITS})(?:e[-+]?\d{{1,3}}(?!\d))?)(\s?%)?", re.IGNORECASE)
WORD = re.compile(r"[a-z]+")

Number = tuple[float, bool]
"""A number, and whether a percent sign follows it."""


def exact_score(answer: str, references: Sequence[str]) -> float:
    """Whether the normalized answer equals a normalized reference (:func:`normalize_answer`)."""
    return float(normalize_answer(answer) in map(normalize_answer, references))


def contains_score(answer: str, references: Sequence[str]) -> float:
    """Whether a reference occurs in the answer as whole words, both normalized: "The sign says STOP." contains "stop".

    A policy that is paid for this would soon list every answer that it can think of. Therefore the answer may have at
    most ``OTHER_WORDS`` words more than the reference, and no more of the marks of a list (comma, semicolon, slash,
    bar, line break, "or", "and") than the reference has. A few guesses without such marks still pass, so that ``exact``
    is the safer reward.
    """
    said, marks = normalize_answer(answer), len(ALTERNATIVES.findall(answer.strip()))
    return float(
        any(
            f" {wanted} " in f" {said} "
            and said.count(" ") - wanted.count(" ") <= OTHER_WORDS
            and marks <= len(ALTERNATIVES.findall(reference))
            for reference, wanted in zip(references, map(normalize_answer, references), strict=True)
        )
    )


def number_score(answer: str, references: Sequence[str]) -> float:
    """Whether the last number in the answer equals the last one in a reference, up to ``TOLERANCE``.

    Reads 1,234.5, -3, 1e6, and, where there are no digits, the words zero to ten. 50% equals 50% and 0.5, and 50 too,
    because a question may ask for percent. Only the last number counts, so listing several gains nothing.
    """
    said = last_number(answer)
    return float(said is not None and any(_equal(said, last_number(reference)) for reference in references))


def last_number(text: str) -> Number | None:
    """The last number in ``text``; None if there is none."""
    if found := NUMBER.findall(text):
        digits, percent = found[-1]
        value = float(digits.replace(",", ""))
        return (value, bool(percent)) if math.isfinite(value) else None
    words = [NUMBERS[word] for word in WORD.findall(text.lower()) if word in NUMBERS]
    return (float(words[-1]), False) if words else None


def _equal(one: Number, other: Number | None) -> bool:
    if other is None:
        return False
    (value, percent), (wanted, wanted_percent) = one, other
    if percent == wanted_percent:
        return _close(value, wanted)
    share = wanted if percent else value
    percentage = value if percent else wanted
    return _close(percentage, share) or _close(percentage / 100, share)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE)
