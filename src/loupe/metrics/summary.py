"""The one counter: from answer rows to metrics by part of the questions, and to paired comparisons.

A summary is ``{metric: {part: value}}``; the parts are "all" and the subsets. A value is a number, None where it is
undefined, or an interval ``{mean, low, high, n}``. Flattened, keys read ``metric/part``: ``score/all``,
``score/small``.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from statistics import fmean
from typing import TypeVar

from loupe.errors import UserError
from loupe.metrics.intervals import Estimate, bootstrap
from loupe.metrics.rows import Rows
from loupe.records import OK, TrajectoryType

CORRECT = 0.5
"""From this score on an answer counts as correct, where only that matters (two of three agreeing references)."""

SCORES = ("score", "score_leave_one_out", "iou")
ALL = "all"

T = TypeVar("T")

Value = float | dict | None
Summary = dict[str, dict[str, Value]]


def summarize(rows: Rows, resamples: int = 0) -> Summary:
    """Count the answers under one condition.

    resamples: of the questions, for the 95% intervals of the scores; 0 gives plain means over answers. Scores that were
    not asked for are left out. Where targets are known: ``zoom_hit_rate``, the share of executed calls that hit one,
    and ``right_and_hit``, the share of answers that are correct and have a call that hit (after arXiv 2511.19661, where
    a model judges whether a crop shows the evidence). Raises UserError without rows.
    """
    parts = by_part(rows, lambda row: row["subset"])
    summary: Summary = {}
    for metric in SCORES:
        scored = {part: [row for row in members if row[metric] is not None] for part, members in parts.items()}
        if scored[ALL]:
            summary[metric] = {part: _score(members, metric, resamples) for part, members in scored.items() if members}
    counts = {part: _counts(members) for part, members in parts.items()}
    return summary | {metric: {part: count[metric] for part, count in counts.items()} for metric in counts[ALL]}


def by_part(items: Iterable[T], subset_of: Callable[[T], str | None]) -> dict[str, list[T]]:
    """All items, and those of each subset. Raises UserError if there are none."""
    everything = list(items)
    if not everything:
        raise UserError("no answers to report on: every row was skipped; fix the data (see the skipped rows)")
    names = sorted({name for name in map(subset_of, everything) if name})
    if ALL in names:
        raise UserError(f"a subset of the data is called {ALL!r}, the name for all questions; rename it")
    return {ALL: everything} | {name: [item for item in everything if subset_of(item) == name] for name in names}


def _counts(rows: Rows) -> dict[str, float | None]:
    failed = [call != OK for row in rows for call in row["calls"]]
    hits = [hit for row in rows for hit in row["hits"] or []]
    faithful = [row["score"] >= CORRECT and any(row["hits"]) for row in rows if row["hits"] is not None]
    return {
        "unanswered": fmean(not row["answered"] for row in rows),
        "zoom_rate": fmean(row["type"] == TrajectoryType.TOOL_SUCCESS for row in rows),
        "zoom_hit_rate": fmean(hits) if hits else None,
        "right_and_hit": fmean(faithful) if faithful else None,
        "failed_call_rate": fmean(failed) if failed else 0.0,
        "pixels": fmean(row["pixels"] for row in rows),
        "n": len(rows),
    }


def _score(rows: Rows, metric: str, resamples: int) -> Value:
    if not resamples:
        return fmean(row[metric] for row in rows)
    return asdict(estimate(rows, question_scores(rows, metric), resamples))


def question_scores(rows: Rows, metric: str = "score") -> dict[str, float]:
    """The score of each question by its id, averaged over the samples."""
    samples: dict[str, list[float]] = {}
    for row in rows:
        samples.setdefault(row["id"], []).append(row[metric])
    return {question: fmean(values) for question, values in samples.items()}


def paired(
    before: Rows, after: Rows, compare: Callable[[float, float], float], resamples: int = 2000, metric: str = "score"
) -> Estimate:
    """The mean of ``compare(score before, score after)`` over the questions that both answer, with its interval."""
    one, other = question_scores(before, metric), question_scores(after, metric)
    return estimate(after, {key: compare(one[key], score) for key, score in other.items() if key in one}, resamples)


def tool_gain_and_harm(without: Rows, with_tool: Rows, resamples: int) -> Summary:
    """tool_gain: the share of questions that are wrong without the tool and correct with it; tool_harm: the reverse."""
    report: Summary = {"tool_gain": {}, "tool_harm": {}}
    for part, members in by_part(with_tool, lambda row: row["subset"]).items():
        pair = [row for row in without if part in (ALL, row["subset"])], members
        report["tool_gain"][part] = asdict(paired(*pair, lambda bare, tool: bare < CORRECT <= tool, resamples))
        report["tool_harm"][part] = asdict(paired(*pair, lambda bare, tool: tool < CORRECT <= bare, resamples))
    return report


def mean(rows: Rows, values: dict[str, float]) -> float:
    """The mean of one value per question, in which all cycles count alike."""
    cycle = {row["id"]: row["cycle"] for row in rows}
    cycles: dict[str | None, list[float]] = {}
    for key, value in values.items():
        cycles.setdefault(cycle[key], []).append(value)
    return fmean(map(fmean, cycles.values()))


def estimate(rows: Rows, values: dict[str, float], resamples: int) -> Estimate:
    """:func:`mean` with its interval; the forms of one question are resampled together."""
    questions = {row["id"]: row for row in rows}
    clusters = [questions[key]["cluster"] or key for key in values]
    parts = [questions[key]["cycle"] for key in values]
    return bootstrap(list(values.values()), resamples, clusters=clusters, parts=parts)
