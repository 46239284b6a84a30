"""What evaluation.json states about the answers of an evaluation, and the same as a table of text."""

from collections import Counter
from statistics import fmean

from loupe.errors import UserError
from loupe.metrics.effect import COMPARISONS, TERMS, comparisons
from loupe.metrics.rows import Rows
from loupe.metrics.summary import ALL, Value, by_part, summarize
from loupe.records import TrajectoryType
from loupe.runs.text import format_value, in_columns


def report(rows: Rows, resamples: int) -> dict:
    """Everything that is counted from the answers to one set of questions.

    ``conditions``: for each condition its summary with intervals (``metrics.summary``), and ``types``: share and score
    of each trajectory type, by part. Where the options of questions are rotated, also ``cycles``: the score of each
    rotation, by part; ``score`` is then the mean over the cycles, and the rotations of one question are resampled
    together. Beside ``conditions``: what the tool does to the score (``metrics.effect.comparisons``).
    """
    times = Counter((row["condition"], row["id"], row["sample"]) for row in rows)
    if twice := [name for (_, name, _), count in times.items() if count > 1]:
        raise UserError(f"two questions have the id {twice[0]}; is a data set listed twice?")
    conditions: dict[str, Rows] = {}
    for row in rows:
        conditions.setdefault(row["condition"], []).append(row)
    counted: dict = {"conditions": {name: _condition(answers, resamples) for name, answers in conditions.items()}}
    return counted | comparisons(conditions, resamples)


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
    scores = {kind.value: [row["score"] for row in rows if row["type"] == kind] for kind in TrajectoryType}
    return {
        kind: {"share": len(found) / len(rows), "score": fmean(found) if found else None}
        for kind, found in scores.items()
    }


def table(report: dict) -> str:
    """The report as text: a line per metric and condition, a column per part of the questions."""
    conditions = report["conditions"]
    first = next(iter(conditions.values()))
    lines: dict[str, dict] = {}
    for metric in dict.fromkeys(metric for summary in conditions.values() for metric in summary):
        for condition, summary in conditions.items():
            parts = summary.get(metric, {})
            if metric in ("types", "cycles"):
                for key in parts.get(ALL, {}):
                    lines[f"{metric}/{condition}/{key}"] = {part: values.get(key) for part, values in parts.items()}
            elif parts:
                lines[f"{metric}/{condition}"] = parts
    lines |= {metric: report[metric] for metric in COMPARISONS if metric in report}
    if factors := report.get("factors"):
        lines |= {f"factors/{term}": {part: terms[term] for part, terms in factors.items()} for term in TERMS}
    header = ["", *(f"{part} (n={first['score'][part]['n']})" for part in first["n"])]
    rows = [[name, *(_cell(parts.get(part)) for part in first["n"])] for name, parts in lines.items()]
    return in_columns([header, *rows])


def _cell(value: Value) -> str:
    if isinstance(value, dict) and "share" in value:  # a trajectory type
        return f"{_cell(value['share'])}, {_cell(value['score'])}"
    if isinstance(value, dict) and "mass" in value:  # of a term
        return " x ".join(map(_cell, value.values()))
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 100):
        return f"{value:,.0f}"
    return format_value(value)
