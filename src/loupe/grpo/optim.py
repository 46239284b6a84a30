"""Optimizer settings, the learning-rate schedule, and the clock of a training step."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.optim.lr_scheduler import LambdaLR

from loupe.errors import UserError

MADE = "made_with"
"""The attribute of an optimizer with the settings of each of its groups."""


def checked(name: str, optimizer: Callable) -> Callable:
    """``optimizer``, after a step with it on a dummy parameter, so that a mistake shows before the first rollout.

    name: of the setting. Raises UserError if the optimizer refuses its settings, or if they are out of all proportion.
    """
    settings = getattr(optimizer, "keywords", {})
    given = f" (given: {', '.join(f'{key}={value}' for key, value in settings.items())})" if settings else ""
    parameter = torch.nn.Parameter(torch.ones(1, 1))
    parameter.grad = torch.ones(1, 1)
    try:
        optimizer([parameter]).step()
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(f"{name}: {str(error).splitlines()[0]}{given}") from error
    if not torch.isfinite(parameter).all() or math.inf in settings.values():
        raise UserError(f"{name}: a setting, or a weight after one step, is not finite; use smaller numbers{given}")
    return optimizer


def remembering(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """``optimizer``, which remembers the settings of each of its groups for :func:`keep_settings`."""
    made = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    setattr(optimizer, MADE, made)
    return optimizer


def keep_settings(optimizer: torch.optim.Optimizer, schedule: LambdaLR) -> None:
    """Give an optimizer the settings that it was made with (:func:`remembering`). Its state in a checkpoint brings
    those of an earlier start.

    The state itself (moments, number of steps) stays.
    """
    for group, made, share in zip(optimizer.param_groups, getattr(optimizer, MADE), schedule.lr_lambdas, strict=True):
        peak = made["lr"]
        group.update(made | {"initial_lr": peak, "lr": peak * share(schedule.last_epoch)})
    schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


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
        self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - begun

    def report(self) -> dict[str, float]:
        """``time/<phase>`` for each phase and ``time/step`` for the total."""
        phases = self.phases | {"step": time.perf_counter() - self.started}
        return {f"time/{name}": seconds for name, seconds in phases.items()}
