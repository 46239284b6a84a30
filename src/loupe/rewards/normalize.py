"""The TextVQA / EvalAI answer normalization, quirks included."""

import re
from functools import lru_cache

# The correct forms; the table maps each of them, with one apostrophe missing, to itself.
# "I'm", "I've" and "I'd've" are left out: the text is lower-cased first, so the evaluator never sees them.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've
    mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd
    something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
    they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've
    who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    right[:at] + right[at + 1 :]: right
    for right in _CONTRACTED.split()
    for at, letter in enumerate(right)
    if letter == "'"
} | {"somebody'd": "somebodyd"}  # reversed in the evaluator's table

NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
ARTICLES = {"a", "an", "the"}
PUNCTUATION = ';/[]"{}()=+\\_-><@`!'
PERIOD = re.compile(r"\.(?!\d)")
MAX_PERIODS = 32


@lru_cache(maxsize=2**16)  # people give many of the same answers, and a policy too
def normalize_answer(text: str) -> str:
    """``text`` as the official TextVQA evaluator compares it (M4C's ``EvalAIAnswerProcessor``).

    In order: lower-case; drop commas and question marks; split off "'s"; punctuation; periods; number words
    none .. ten to digits; drop articles; restore the apostrophes of contractions; single spaces.

    Quirks kept on purpose, because published scores contain them:

    - Punctuation: if one occurrence of a mark has a space beside it, *all* its occurrences are dropped and their
      neighbors joined ("x/ y/z" -> "x yz"); otherwise each becomes a space. Spaces are judged before any mark is
      dropped. Marks that are not in ``PUNCTUATION`` (: $ % & * # ' and typographic ones) stay.
    - The rule "a comma between digits: drop all punctuation" never applies: every comma is gone by then.
    - A period is dropped unless a digit follows ("3." -> "3", "st.john" -> "stjohn", ".5" stays): the evaluator's
      look-behind for a digit is misspelled and always true. Only the first 32 are dropped, because ``re.UNICODE`` (32)
      is passed where ``re.sub`` expects the count.
    - "'s" is split off before contractions are looked up: "he's" -> "he 's", but "hes" -> "he's".
    - Contractions with a capital I ("Im") are not restored, and "somebody'd" loses its apostrophe.
    - Articles go even when nothing else is left: "A" -> "".
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.strip().replace("\n", " ").replace("\t", " ")
    text = PERIOD.sub("", _without_punctuation(text), count=MAX_PERIODS)
    words = (NUMBERS.get(word, word) for word in text.split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _without_punctuation(text: str) -> str:
    """``text`` with each mark dropped if it stands beside a space anywhere, else replaced by a space."""
    beside_space = {mark: f"{mark} " in text or f" {mark}" in text for mark in PUNCTUATION}
    return text.translate({ord(mark): "" if dropped else " " for mark, dropped in beside_space.items()})
