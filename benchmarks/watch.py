"""Seconds of the phases of a training step, and the most memory. Without a GPU, for Linux only."""

import re
import time
from collections import Counter
from pathlib import Path

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GIB = 2**30


class Watch:
    """Seconds spent in phases, and the last step that was reported. Stands in for the module's reporter."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.begun: dict[str, float] = {}

    def begin(self, phase: str) -> None:
        self.begun[phase] = now()

    def end(self, phase: str) -> None:
        self.seconds[phase] += now() - self.begun.pop(phase)

    def wrap(self, owner: object, name: str, phase: str, counts=lambda *_: True) -> None:
        """Time the calls of a method for which ``counts`` holds."""
        inner = getattr(owner, name)

        def timed(*arguments):
            if not counts(*arguments):
                return inner(*arguments)
            self.begin(phase)
            result = inner(*arguments)
            self.end(phase)
            return result

        setattr(owner, name, timed)

    def training(self, loggers, step, report, groups, rows_of) -> None:
        self.report, self.groups = report, groups
        self.phases, self.seconds = dict(self.seconds), Counter()

    def speed(self) -> dict:
        """Seconds of each phase, its share of the step, and tokens per second."""
        took, (group,) = dict(self.phases), self.groups
        rollout, update_ = took.pop("rollout"), took.pop("update")
        took |= {"decode": rollout - took["prefill"], "update": update_ - took["optimizer"]}
        sampled = sum(trajectory.n_sampled for trajectory in group.trajectories)
        everything = len(group.prompt.ids) + sum(len(trajectory.ids) for trajectory in group.trajectories)
        tokens = {"prefill": everything - sampled, "decode": sampled, "update": everything}
        return {
            "seconds": took,
            "share": {phase: seconds / sum(took.values()) for phase, seconds in took.items()},
            "tokens/s": {phase: count / took[phase] for phase, count in tokens.items()},
        }


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak() -> float:
    """The most memory so far in GiB: on a card what torch allocated, else what the process had resident."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / GIB
    status = Path("/proc/self/status").read_text()  # getrusage would count from what the parent process had
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**20
