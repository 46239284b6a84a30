"""From the rows of an evaluation (``answers.answer_row``) to its figures, and to a table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean

from loupe.errors import UserError
from loupe.metrics.intervals import Estimate, bootstrap
from loupe.records import OK, TrajectoryType
from loupe.runs.columns import in_columns

RIGHT = 0.5
"""From this score on an answer counts as right, in tool-gain and tool-harm (two of three agreeing references)."""

Rows = list[dict]


def report(rows: Rows, resamples: int) -> dict:
    """Everything about the answers to one set of questions, as evaluation.json states it.

    ``parts``: for all questions and for each subset, the score of each condition with its interval, the tool's use, and
    tool_gain and tool_harm. ``cycles``: the scores of each rotation of the options, where there are several; the score
    is then the mean over the cycles, and the rotations of one question are resampled together. ``types``: score and
    share of each trajectory type under the condition ``types_of``: sampled if that was asked, or else greedy.
    """
    if not rows:
        raise UserError("none of the questions could be read; see the skipped rows above")
    times = Counter((row["condition"], row["id"], row["sample"]) for row in rows)
    if twice := [name for (_, name, _), count in times.items() if count > 1]:
        raise UserError(f"two questions are called {twice[0]}; is a data set there twice?")
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    subsets = ["all", *sorted({row["subset"] for row in rows if row["subset"]})]
    parts = {name: {c: of for c in conditions if (of := _of(rows, c, name))} for name in subsets}
    typed = next((name for name in ("sampled", "greedy") if name in conditions), conditions[0])
    return {
        "parts": {name: _part(answers, resamples) for name, answers in parts.items()},
        "cycles": {name: {c: _cycles(asked) for c, asked in answers.items()} for name, answers in parts.items()},
        "types_of": typed,
        "types": {name: _types(answers.get(typed, [])) for name, answers in parts.items()},
    }


def paired(
    before: Rows, after: Rows, figure: Callable[[float, float], float], resamples: int = 2000, score: str = "score"
) -> Estimate:
    """``figure`` of the scores before and after of every question that both answer, with its interval."""
    one, other = question_scores(before, score), question_scores(after, score)
    rows = list({row["id"]: row for row in after if row["id"] in one}.values())
    return _estimate(rows, [figure(one[row["id"]], other[row["id"]]) for row in rows], resamples)


def question_scores(rows: Rows, score: str = "score") -> dict[str, float]:
    """The score of each question by its id, averaged over the samples."""
    samples: dict[str, list[float]] = {}
    for row in rows:
        samples.setdefault(row["id"], []).append(row[score])
    return {question: fmean(values) for question, values in samples.items()}


def _part(answers: dict[str, Rows], resamples: int) -> dict:
    part: dict = {}
    for name in ("score", "score_leave_one_out", "iou"):
        for condition, rows in answers.items():
            if all(row[name] is not None for row in rows):
                part[f"{name}/{condition}"] = asdict(_mean(rows, name, resamples))
    for condition, rows in answers.items():
        part |= {f"{name}/{condition}": value for name, value in _tool_use(rows).items()}
    if "no_tool" in answers and "greedy" in answers:
        part |= {name: asdict(value) for name, value in gain_and_harm(answers, resamples).items()}
    return part


def _mean(rows: Rows, name: str, resamples: int) -> Estimate:
    scores = question_scores(rows, name)
    questions = {row["id"]: row for row in rows}
    return _estimate(list(questions.values()), list(scores.values()), resamples)


def _estimate(questions: Rows, values: list[float], resamples: int) -> Estimate:
    """The mean of one value a question; the forms of one question are drawn together, and cycles count alike."""
    clusters = [row["cluster"] or row["id"] for row in questions]
    return bootstrap(values, resamples, clusters=clusters, parts=[row["cycle"] for row in questions])


def _tool_use(rows: Rows) -> dict[str, float | None]:
    calls = [call != OK for row in rows for call in row["calls"]]
    hits = [hit for row in rows for hit in row["hits"] or []]
    return {
        "unanswered": fmean(not row["answered"] for row in rows),
        "zoom_rate": fmean(row["type"] == TrajectoryType.TOOL_SUCCESS for row in rows),
        "zoom_hit_rate": fmean(hits) if hits else None,
        "failed_call_rate": fmean(calls) if calls else 0.0,
        "pixels": fmean(row["pixels"] for row in rows),
    }


def gain_and_harm(answers: dict[str, Rows], resamples: int) -> dict[str, Estimate]:
    """Shares of the questions that are wrong without the tool and right with it (gain), and the reverse (harm)."""
    pair = answers["no_tool"], answers["greedy"]
    return {
        "tool_gain": paired(*pair, lambda without, with_it: without < RIGHT <= with_it, resamples),
        "tool_harm": paired(*pair, lambda without, with_it: with_it < RIGHT <= without, resamples),
    }


def _cycles(rows: Rows) -> dict[str, float]:
    cycles = sorted({row["cycle"] for row in rows if row["cycle"] is not None})
    return {cycle: fmean(row["score"] for row in rows if row["cycle"] == cycle) for cycle in cycles}


def _types(rows: Rows) -> dict[str, dict]:
    table = {}
    for kind in TrajectoryType:
        scores = [row["score"] for row in rows if row["type"] == kind]
        table[kind.value] = {"share": len(scores) / max(1, len(rows)), "score": fmean(scores) if scores else None}
    return table


def _of(rows: Rows, condition: str, subset: str) -> Rows:
    return [row for row in rows if row["condition"] == condition and subset in ("all", row["subset"])]


def table(figures: dict) -> str:
    """The report as text: one column for all questions and each subset."""
    parts = figures["parts"]
    lines = [["", *(f"{name} (n={_n(part)})" for name, part in parts.items())]]
    lines += [[key, *(_cell(part.get(key)) for part in parts.values())] for key in parts["all"]]
    for condition, cycles in figures["cycles"]["all"].items():
        for cycle in cycles:
            cells = (_cell(figures["cycles"][name].get(condition, {}).get(cycle)) for name in parts)
            lines.append([f"score/{condition}/{cycle}", *cells])
    for kind in TrajectoryType:
        cells = [figures["types"][name][kind.value] for name in parts]
        told = (f"{_cell(cell['share'])}, {_cell(cell['score'])}" for cell in cells)
        lines.append([f"{kind}/{figures['types_of']}: share, score", *told])
    return in_columns(lines)


def _n(part: dict) -> int:
    return next(value["n"] for key, value in part.items() if key.startswith("score/"))


def _cell(value: dict | float | None) -> str:
    if isinstance(value, dict):
        return str(Estimate(**value))
    return "-" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
