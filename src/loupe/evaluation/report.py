"""What evaluation.json states about the answers of an evaluation, and the same as a table of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import fmean

from loupe.errors import UserError
from loupe.metrics.intervals import Estimate
from loupe.metrics.rows import Rows
from loupe.metrics.summary import ALL, Value, by_part, summarize, tool_gain_and_harm
from loupe.records import TrajectoryType
from loupe.runs.text import in_columns


def report(rows: Rows, resamples: int) -> dict:
    """Everything that is counted from the answers to one set of questions.

    ``conditions``: for each condition its summary with intervals (``metrics.summary``), and ``types``: share and score
    of each trajectory type, by part. Where the options of questions are rotated, also ``cycles``: the score of each
    rotation, by part; ``score`` is then the mean over the cycles, and the rotations of one question are resampled
    together. ``tool_gain`` and ``tool_harm``: by part, where both ``greedy`` and ``no_tool`` were asked.
    """
    times = Counter((row["condition"], row["id"], row["sample"]) for row in rows)
    if twice := [name for (_, name, _), count in times.items() if count > 1]:
        raise UserError(f"two questions have the id {twice[0]}; is a data set listed twice?")
    conditions: dict[str, Rows] = {}
    for row in rows:
        conditions.setdefault(row["condition"], []).append(row)
    comparison = {}
    if "no_tool" in conditions and "greedy" in conditions:
        comparison = tool_gain_and_harm(conditions["no_tool"], conditions["greedy"], resamples)
    return {"conditions": {name: _condition(answers, resamples) for name, answers in conditions.items()}} | comparison


def _condition(rows: Rows, resamples: int) -> dict:
    parts = by_part(rows, lambda row: row["subset"])
    summary = summarize(rows, resamples) | {"types": {part: _types(members) for part, members in parts.items()}}
    if any(row["cycle"] is not None for row in rows):
        summary["cycles"] = {part: _cycles(members) for part, members in parts.items()}
    return summary


def _cycles(rows: Rows) -> dict[str, float]:
    cycles = sorted({row["cycle"] for row in rows if row["cycle"] is not None})
    return {cycle: fmean(row["score"] for row in rows if row["cycle"] == cycle) for cycle in cycles}


def _types(rows: Rows) -> dict[str, dict]:
    types = {}
    for kind in TrajectoryType:
        scores = [row["score"] for row in rows if row["type"] == kind]
        types[kind.value] = {"share": len(scores) / len(rows), "score": fmean(scores) if scores else None}
    return types


def table(report: dict) -> str:
    """The report as text: a line per metric and condition, a column per part of the questions."""
    conditions = report["conditions"]
    counted = next(iter(conditions.values()))["n"]
    lines = [["", *(f"{part} (n={_questions(conditions, part)})" for part in counted)]]

    def add(name: str, cells: Iterable[str]) -> None:
        lines.append([name, *cells])

    for metric in dict.fromkeys(metric for summary in conditions.values() for metric in summary):
        for condition, summary in conditions.items():
            parts = summary.get(metric, {})
            if metric in ("types", "cycles"):
                for key in parts.get(ALL, {}):
                    add(f"{metric}/{condition}/{key}", (_cell(parts[part].get(key)) for part in counted))
            elif parts:
                add(f"{metric}/{condition}", (_cell(parts.get(part)) for part in counted))
    for metric in ("tool_gain", "tool_harm"):
        if metric in report:
            add(metric, (_cell(report[metric].get(part)) for part in counted))
    return in_columns(lines)


def _questions(conditions: dict[str, dict], part: str) -> int:
    return next(summary["score"][part]["n"] for summary in conditions.values())


def _cell(value: Value) -> str:
    if isinstance(value, dict) and "mean" in value:
        return str(Estimate(**value))
    if isinstance(value, dict):  # a trajectory type
        return f"{_cell(value['share'])}, {_cell(value['score'])}"
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
