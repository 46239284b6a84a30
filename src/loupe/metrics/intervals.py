"""Intervals for scores, by resampling questions (bootstrap)."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loupe.errors import UserError

LEVEL = 0.95
ENDS = ("low", "high", "n")
"""What :func:`flat` appends to the key of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` values, with its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def flat(figures: dict, prefix: str = "") -> dict:
    """Nested metrics under keys joined by slashes. An interval under ``key`` becomes ``key`` (its mean), ``key/low``,
    ``key/high`` and ``key/n``.
    """
    row = {}
    for name, value in figures.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict):
            row[key] = value
        elif set(value) == set(Estimate.__dataclass_fields__):
            row |= {key: value["mean"]} | {f"{key}/{end}": value[end] for end in ENDS}
        else:
            row |= flat(value, f"{key}/")
    return row


def without_ends(keys: Iterable[str]) -> list[str]:
    """The keys of flat metrics, with an interval represented by its mean alone."""
    keys = list(keys)
    ends = {f"{key}/{end}" for key in keys for end in ENDS}
    return [key for key in keys if key not in ends]


def bootstrap(
    values: Sequence[float],
    resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
    parts: Sequence[Hashable] | None = None,
) -> Estimate:
    """The mean and its 95% percentile interval over ``resamples`` draws of whole questions, with replacement.

    values: one per question, the mean of its samples, because these are not independent. To compare two policies, pass
    the differences question by question (a paired bootstrap).
    clusters: the question of each value, where one question has several forms; these are drawn together.
    parts: the part (cycle) of each value; the mean is that of the parts' means. None: there is one part.

    Raises UserError if there are no values.
    """
    if not len(values):
        raise UserError("no values to compute an interval from: the split, or this part of it, is empty")
    cells = _numbered(clusters or range(len(values))), _numbered(parts or [0] * len(values))
    sums = np.zeros([numbers.max() + 1 for numbers in cells])  # [clusters, parts]
    counts = np.zeros_like(sums)
    np.add.at(sums, cells, np.asarray(values, dtype=float))
    np.add.at(counts, cells, 1)
    generator, n = np.random.default_rng(seed), len(sums)
    draws = (np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(resamples))
    means = [_mean_of_parts(drawn @ sums, drawn @ counts) for drawn in draws]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(_mean_of_parts(sums.sum(0), counts.sum(0)), float(low), float(high), len(values))


def _numbered(labels: Sequence[Hashable]) -> np.ndarray:
    """Labels as numbers, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def _mean_of_parts(sums: np.ndarray, counts: np.ndarray) -> float:
    """The mean over the parts that were drawn at all."""
    there = counts > 0
    return float((sums[there] / counts[there]).mean())
