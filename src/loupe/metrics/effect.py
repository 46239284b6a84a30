"""What a tool does to the score, question by question: the decomposition of MED (arXiv 2602.01334).

The questions are split in four by whether the answer without the tool is wrong or right, and by whether the policy
calls the tool where it may::

                          calls        does not call
    wrong without         call gain    schema gain
    right without         call harm    schema harm

A term is the share of questions that change, to right or to wrong, so that the score with the tool minus that without
it is call gain + schema gain - call harm - schema harm. It is also a product: mass, the share of questions that are
wrong (right) without the tool, times policy, the share of those with (without) a call, times quality, the share of
those that become right (wrong).

Terms and factors are the paper's. Ours: a call that fails is a call too; intervals; and scores between 0 and 1, where
wrong means below ``CORRECT`` and an answer counts by how far its score lies above that without the tool (for a harm,
below). So the sum stays exact, quality is a mean change, and a term may be negative.
"""

from dataclasses import asdict

from loupe.metrics.rows import Rows
from loupe.metrics.summary import CORRECT, by_part, estimate, mean, paired, question_scores, tool_gain_and_harm

TERMS = {
    "call_gain": (False, True),
    "schema_gain": (False, False),
    "call_harm": (True, True),
    "schema_harm": (True, False),
}
"""Whether the questions of each term are right without the tool, and whether the policy calls."""
COMPARISONS = ("tool_gain", "tool_harm", "tool_effect", *TERMS, "description_effect")
"""What is reported of two conditions, with intervals."""


def comparisons(conditions: dict[str, Rows], resamples: int) -> dict:
    """The ``COMPARISONS`` and the factors of :func:`decomposition`, as far as the conditions they compare were asked.

    ``tool_effect`` is the difference that the terms add up to; ``description_effect`` the same where the policy reads
    about the tool and cannot call it.
    """
    report: dict = {}
    if without := conditions.get("no_tool"):
        if with_tool := conditions.get("greedy"):
            report |= tool_gain_and_harm(without, with_tool, resamples)
            report |= {"tool_effect": difference(without, with_tool, resamples)}
            report |= decomposition(without, with_tool, resamples)
        if described := conditions.get("described"):
            report["description_effect"] = difference(without, described, resamples)
    return report


def difference(before: Rows, after: Rows, resamples: int) -> dict[str, dict]:
    """By how much the score rises from ``before`` to ``after``, with intervals, by part of the questions in both."""
    parts = by_part(after, lambda row: row["subset"])
    return {
        part: asdict(paired(before, members, lambda one, other: other - one, resamples))
        for part, members in parts.items()
    }


def decomposition(without: Rows, with_tool: Rows, resamples: int) -> dict:
    """The terms with intervals, ``{term: {part: interval}}``, and ``{"factors": {part: {term: {factor: value}}}}``.

    without, with_tool: answers to the same questions; those that are in both count. A policy or quality is None where
    there is no question that it could be a share of.
    """
    bare = question_scores(without)
    parts = by_part([row for row in with_tool if row["id"] in bare], lambda row: row["subset"])
    report: dict = {term: {} for term in TERMS} | {"factors": {part: {} for part in parts}}
    for part, rows in parts.items():
        for term, (right, calls) in TERMS.items():
            marked = [row | _marks(row, bare[row["id"]], right, calls) for row in rows]
            report[term][part] = asdict(estimate(rows, question_scores(marked, "change"), resamples))
            report["factors"][part][term] = _factors(marked)
    return report


def _marks(row: dict, bare: float, right: bool, calls: bool) -> dict:
    """What an answer counts in a term. bare: the score of its question without the tool."""
    concerned = (bare >= CORRECT) == right
    decided = concerned and bool(row["calls"]) == calls
    change = (bare - row["score"] if right else row["score"] - bare) if decided else 0.0
    return {"concerned": concerned, "decided": decided, "change": change}


def _factors(marked: Rows) -> dict[str, float | None]:
    mass, decided, change = (mean(marked, question_scores(marked, mark)) for mark in ("concerned", "decided", "change"))
    return {"mass": mass, "policy": decided / mass if mass else None, "quality": change / decided if decided else None}
