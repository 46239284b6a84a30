"""Intervals for scores, by resampling questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loupe.errors import UserError

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` questions, with its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(values: Sequence[float], resamples: int = 2000, seed: int = 0) -> Estimate:
    """The mean and its 95% percentile interval over ``resamples`` draws of whole questions, with replacement.

    values: one a question; several samples of a question are averaged first, since they are not independent. For the
    difference of two policies pass the differences question by question (a paired bootstrap).
    """
    if not len(values):
        raise UserError("no values to take an interval of: the split, or this part of it, is empty")
    data = np.asarray(values, dtype=float)
    generator = np.random.default_rng(seed)
    means = [data[generator.integers(len(data), size=len(data))].mean() for _ in range(resamples)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(data.mean()), float(low), float(high), len(data))
