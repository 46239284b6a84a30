"""Multiple-choice questions: writing them, and reading which option an answer names."""

import re
from collections.abc import Sequence
from itertools import islice
from string import ascii_uppercase

LABEL = r"""(?:\((?P<bracketed>[A-Za-z])\)|(?P<bare>[A-Za-z])(?=\s*[.):,;*"'/]|\W*$)|(?P<capital>[A-Z])(?=\s))"""
"""A letter that stands for an option: in brackets, before a punctuation mark or the end, or a capital before a word."""
AT_THE_START = re.compile(rf"\W*?{LABEL}")
ANNOUNCED = re.compile(rf"\b(?i:answer)\b(?:\s+is\b)?[\s:*]*(?i:option\s+)?{LABEL}")
NAMED = re.compile(rf"\b(?i:option|choice)\b(?:\s+is\b)?[\s:*]*(?i:option\s+)?{LABEL}")
BRACKETED = re.compile(r"\((?P<bracketed>[A-Za-z])\)")
CAPITAL = re.compile(r"(?<![\w'])(?P<capital>[A-Z])(?![\w'])")
ALTERNATIVE = re.compile(r"[^\w,/]*(?:(?:\bor\b|\band\b|/)\W*[A-Za-z](?!\w)|,\s*\(?[B-Z](?!\w))|\s*\([A-Za-z]\)")
"""What follows a letter if another one is named beside it."""
NOT_AFTER_AN_ARTICLE = re.compile(
    "and|are|as|at|because|but|by|due|for|from|if|in|is|its?|matches|of|on|or|seems|since|so|than|that|the|then|they"
    "|this|to|was|were|which|while|who|with|would"
)
"""Words before which a capital A is a letter, not the article."""
NO_OPTION = re.compile(
    r"\b(?:none|neither|all|both|any)\s+of\s+(?:the\s+)?(?:above|below|these|them|options|choices)\b"
)
LETTERS = ascii_uppercase
WORD = re.compile(r"\w+")
REQUEST = "Answer with the option's letter from the given choices directly."


def with_options(question: str, options: Sequence[str]) -> str:
    """The question, its lettered options, one per line, and the request for a letter, as V*Bench publishes them."""
    lettered = (f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    return "\n".join([question, *lettered, REQUEST])


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """The index (0 is A) of the option that ``answer`` names; None if it names none, or several.

    Tried in this order: an announced letter ("the answer is (a) rubber"), if all such agree; a letter at the start
    ("A", "(a)", "B. rubber"); an option that is named by its letter ("option A"), unless another one stands beside it;
    the only letter in brackets; the text of an option, if it is the only one mentioned; the only capital letter that
    stands by itself. An "A" that is not announced and stands before a word is read as the article, unless the word
    begins the option's text or never follows an article ("A because .."). "None of the above" names no option "above".
    A letter beyond the options names none.
    """
    first = AT_THE_START.match(answer)
    for found in (list(ANNOUNCED.finditer(answer)), [first] if first else [], list(NAMED.finditer(answer))):
        if any(ALTERNATIVE.match(answer, one.end()) for one in found):
            return None
        numbers = {number for one in found if (number := _number(one, answer, options)) is not None}
        if numbers and found[0].re is NAMED:
            numbers |= _others(answer, options)
        if numbers:
            return numbers.pop() if len(numbers) == 1 else None
    ways = (_letters(BRACKETED, answer, options), _mentioned(answer, options), _letters(CAPITAL, answer, options))
    return next((numbers.pop() if len(numbers) == 1 else None for numbers in ways if numbers), None)


def _others(answer: str, options: Sequence[str]) -> set[int]:
    """The options beside one that is named by its letter: by other letters, or by the only text that is mentioned."""
    mentioned = _mentioned(answer, options)
    return _letters(CAPITAL, answer, options) | (mentioned if len(mentioned) == 1 else set())


def _number(found: re.Match, answer: str, options: Sequence[str]) -> int | None:
    """The option of a matched letter; None for a letter beyond the options and for an article."""
    groups = found.groupdict()
    letter = next(value for value in groups.values() if value)
    number = LETTERS.index(letter.upper())
    if number >= len(options):
        return None
    is_capital_a = groups.get("capital") == "A" and found.re not in (ANNOUNCED, NAMED)
    return None if is_capital_a and _is_article(answer, found.end(), _words(options[number])) else number


def _is_article(answer: str, end: int, text: list[str]) -> bool:
    """Whether an "A" that ends at ``end`` is the article, where the option A is the words ``text``."""
    following = islice(WORD.finditer(answer, end), max(1, len(text)))  # not all: there may be many such letters
    words = [found[0].lower() for found in following]
    return bool(words) and words[: len(text)] != text and not NOT_AFTER_AN_ARTICLE.fullmatch(words[0])


def _letters(pattern: re.Pattern, answer: str, options: Sequence[str]) -> set[int]:
    numbers = (_number(found, answer, options) for found in pattern.finditer(answer))
    return {number for number in numbers if number is not None}


def _mentioned(answer: str, options: Sequence[str]) -> set[int]:
    """The options whose words occur in the answer, except those that are part of another such option."""
    if not any(NO_OPTION.search(option.lower()) for option in options):
        answer = NO_OPTION.sub("", answer.lower())
    said, texts = _padded(answer), list(map(_padded, options))
    found = {text for text in texts if text.strip() and text in said}
    whole = {text for text in found if not any(text in other for other in found - {text})}
    return {number for number, text in enumerate(texts) if text in whole}


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _padded(text: str) -> str:
    return f" {' '.join(_words(text))} "
