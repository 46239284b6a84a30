"""Intervals for scores, by resampling questions and runs (bootstrap), and for shares of runs (binomial)."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb

import numpy as np

from loupe.errors import UserError

LEVEL = 0.95
DRAWS = 2**16
"""Of questions at a time: as many as fit into a processor's cache."""
ENDS = ("low", "high", "n")
"""What :func:`flat` appends to the key of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` values (questions, or runs), with its 95% interval."""

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
    means = np.concatenate(
        [_mean_of_parts(times @ sums, times @ counts) for times in _drawn(len(sums), resamples, seed)]
    )
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(_mean_of_parts(sums.sum(0), counts.sum(0))), float(low), float(high), len(values))


def _drawn(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each resample draws each of ``n`` questions, [resamples, n], part by part."""
    generator, at_once = np.random.default_rng(seed), max(1, DRAWS // n)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)


def over_runs(
    scores: Sequence[Sequence[float]],
    strata: Sequence[Hashable],
    clusters: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The interquartile mean over runs of their mean scores, and its 95% percentile interval (arXiv 2108.13264).

    Each resample draws runs, and questions within each stratum, with replacement; all runs have answered the same
    questions, so these are drawn for all runs at once. ``n`` is the number of runs. With few runs the interval is too
    narrow: where runs differ more than questions do, it covers the truth in three of four cases with three runs, and in
    nine of ten with five. With one run it covers questions only.

    scores: [runs, questions]. strata: of each question, such as its subset. clusters: see :func:`bootstrap`.
    """
    given = np.asarray(scores, dtype=float)
    numbers = _numbered(clusters or range(given.shape[1]))
    counts = np.bincount(numbers)
    sums = np.zeros([len(given), len(counts)])
    np.add.at(sums.T, numbers, given.T)
    stratum = np.zeros(len(counts), dtype=int)
    stratum[numbers] = _numbered(strata)
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(resamples):
        times = np.zeros(len(counts))
        for number in range(stratum.max() + 1):
            (there,) = np.nonzero(stratum == number)
            times[there] = np.bincount(generator.integers(len(there), size=len(there)), minlength=len(there))
        chosen = sums[generator.integers(len(given), size=len(given))]
        drawn.append(interquartile_mean(chosen @ times / (counts @ times)))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(interquartile_mean(given.mean(1)), float(low), float(high), len(given))


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean without the lowest and highest quarter, rounded down: of five values, without one on each side."""
    cut = len(values) // 4
    return float(np.sort(values)[cut : len(values) - cut].mean())


def share(count: int, n: int) -> Estimate:
    """The share of ``count`` out of ``n`` runs, with its exact 95% interval (Clopper and Pearson, 1934)."""

    def at_least(k: int, p: float) -> float:
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    tail = (1 - LEVEL) / 2
    low = _crossing(partial(at_least, count), tail) if count else 0.0
    high = _crossing(partial(at_least, count + 1), 1 - tail) if count < n else 1.0
    return Estimate(count / n, low, high, n)


def _crossing(rising: Callable[[float], float], value: float) -> float:
    """Where in [0, 1] a rising function reaches ``value``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return low


def _numbered(labels: Sequence[Hashable]) -> np.ndarray:
    """Labels as numbers, in the order in which they first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def _mean_of_parts(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over the parts that were drawn at all. sums, counts: [.., parts]."""
    return np.nanmean(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0), axis=-1)
