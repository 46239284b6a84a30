"""How a policy calls: what its calls cost, whether they fail, where they look and how closely."""

from pathlib import Path
from statistics import fmean, median

from loupe.geometry import Box, area
from loupe.records import OK
from loupe.studies.gains import answers, identity, trainings


def call_rows(folder: Path) -> list[dict]:
    """Two rows per finished training of a sweep: :func:`calls` of its answers ``when`` it began and ended."""
    return [
        identity(job) | {"when": when} | calls(answers(folder / job["job"], when))
        for job in trainings(folder)
        for when in ("before", "after")
    ]


def calls(rows: list[dict]) -> dict[str, float | None]:
    """Of one policy's answers, of which there is at least one; None where there is nothing to count.

    calling: the share of answers with a call. failed: the share of calls that failed. hits: the share of executed calls
    that hit a target. side: the median over crops, as the side of a square of the same area in pixels of the original.
    tokens/with_call, tokens/without: how many the policy writes in an answer with a call, and without one.
    """
    failed = [call != OK for row in rows for call in row["calls"]]
    sides = [_side(box) for row in rows for box in row["crops"]]
    return {
        "calling": fmean(bool(row["calls"]) for row in rows),
        "failed": _mean(failed),
        "hits": _mean([hit for row in rows for hit in row["hits"] or []]),
        "side": median(sides) if sides else None,
        "tokens/with_call": _mean([row["n_sampled"] for row in rows if row["calls"]]),
        "tokens/without": _mean([row["n_sampled"] for row in rows if not row["calls"]]),
    }


def _side(box: Box) -> float:
    return area(box) ** 0.5


def _mean(values: list) -> float | None:
    return fmean(values) if values else None
