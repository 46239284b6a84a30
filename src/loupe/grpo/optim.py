"""Optimizer settings, the learning-rate schedule, and the clock of a training step."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from loupe.errors import UserError


def checked(name: str, optimizer: Callable) -> Callable:
    """``optimizer``, after trying its settings on a dummy parameter, so that a mistake shows before the first rollout.

    name: of the setting. Raises UserError if the optimizer refuses its settings.
    """
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1, 1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error
    return optimizer


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at ``step`` (0 is the first, and already moves): linear up, cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


class Clock:
    """Seconds spent in named phases, and in total, since the clock was made."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.phases: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.phases[phase] = time.perf_counter() - begun

    def report(self) -> dict[str, float]:
        """``time/<phase>`` for each phase and ``time/step`` for the total."""
        phases = self.phases | {"step": time.perf_counter() - self.started}
        return {f"time/{name}": seconds for name, seconds in phases.items()}
