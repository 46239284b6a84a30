"""Several processes (ranks), each with its own questions, that together act like one process with all the questions.

Every rank calls these functions in the same order, however many tool turns and micro-batches it has, and also if its
batch is empty. In a single process nothing happens: ``gather`` returns a list of its argument.
"""

import logging
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NoReturn, TypeVar

import lightning
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

from loupe.errors import UserError
from loupe.records import Example, Group

T = TypeVar("T")


class Ranks(DDPStrategy):
    """Lightning's DDP (``trainer=ddp``), but with gradients summed once at the end of a step (``sum_gradients``),
    because ranks differ in their numbers of backward passes. Every rank starts with the weights of the first.

    threads: torch's CPU threads per process; None lets Lightning divide the cores among the processes.
    """

    def __init__(self, threads: int | None = None, **options):
        super().__init__(**options)
        self.threads = threads

    def setup_environment(self) -> None:
        super().setup_environment()
        if self.threads is not None:  # after Lightning has set its own number
            torch.set_num_threads(self.threads)

    def setup(self, trainer: lightning.Trainer) -> None:
        n = len(set(gather(trainer.default_root_dir)))
        if n > 1:
            stop(UserError(f"the processes write to {n} different folders; give all the same paths.output_dir"))
        super().setup(trainer)

    def configure_ddp(self) -> None:
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def check_devices(
    trainer: lightning.Trainer | lightning.Fabric, one_device: bool = False, in_sweep: bool = False
) -> None:
    """Refuse more devices than the job can use (``one_device``), and ways to start them that do not work."""
    devices = trainer.world_size
    if devices == 1:
        return
    if one_device:
        raise UserError(f"{devices} devices: this job uses only one; use trainer.devices=1")
    if not isinstance(trainer.strategy, Ranks):
        raise UserError(f"{devices} devices: add trainer=ddp, or use trainer.devices=1")
    if in_sweep and not trainer.strategy.cluster_environment.creates_processes_externally:
        # Lightning starts the other processes with the same command, which would be the whole sweep.
        raise UserError(
            "a sweep (-m) over several devices needs hydra/launcher=submitit_slurm; or start the runs one by one"
        )


def is_main() -> bool:
    """Whether this is the rank that writes files and logs; reliable once there is a trainer."""
    return rank_zero_only.rank == 0


def mute() -> None:
    """Let only the main rank log anything but errors."""
    if not is_main():
        logging.disable(logging.WARNING)


def signed(message: str) -> str:
    """An error message, prefixed with the rank unless it comes from the main one."""
    return message if is_main() else f"rank {rank_zero_only.rank}: {message}"


def end_children(trainer: lightning.Trainer) -> None:
    """Kill the processes that this one has started: after an error they would wait for it forever."""
    launcher = trainer.strategy.launcher
    if getattr(launcher, "procs", None):  # only launchers that start processes themselves have any
        launcher.kill(signal.SIGKILL)
        launcher.procs.clear()  # otherwise Lightning takes their exit for a failure and kills this process too


def rank() -> int:
    """The index of this process in what ``gather`` returns."""
    return dist.get_rank() if _together() else 0


def gather(part: T) -> list[T]:
    """The parts of all ranks, in the order of ranks, on every rank. ``part`` must be picklable."""
    if not _together():
        return [part]
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def flat(parts: list[list[T]]) -> list[T]:
    """Part after part: the order in which training distributes questions."""
    return [item for part in parts for item in part]


def interleaved(parts: list[list[T]]) -> list[T]:
    """Each part's first, then each part's second, ...: the order in which evaluation distributes questions."""
    missing: Any = object()
    return [item for row in zip_longest(*parts, fillvalue=missing) for item in row if item is not missing]


def anywhere(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    return any(gather(flag))


def total(sums: Counter) -> Counter:
    """Sums over all ranks, key by key."""
    totals: Counter = Counter()
    for part in gather(sums):
        totals.update(part)
    return totals


def gather_groups(groups: list[Group]) -> list[list[Group]]:
    """The groups of each rank: complete for this rank, without pictures (``Group.light``) for the others."""
    if not _together():
        return [groups]
    parts = gather([replace(group.light(), example=_sendable(group.example)) for group in groups])
    parts[rank()] = groups
    return parts


def sum_gradients(trained: list[torch.Tensor]) -> None:
    """Replace each gradient by its sum over all ranks."""
    if not _together():
        return
    fill_gradients(trained)
    for work in [dist.all_reduce(p.grad, async_op=True) for p in trained if p.grad is not None]:
        work.wait()


def fill_gradients(trained: list[torch.Tensor]) -> None:
    """Give zeros to a parameter without a gradient, if it has one on another rank.

    One without a gradient on any rank keeps none, so that the optimizer skips it as in a single process.
    """
    present = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    for parameter, somewhere in zip(trained, present.tolist(), strict=True):
        if somewhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter, dtype=parameter.grad_dtype)


def stop(error: UserError) -> NoReturn:
    """End the run on all ranks, which all call this.

    The main one raises ``error``; the others exit quietly, with it as their cause.
    """
    gather(None)  # the main rank kills the others, so each must have saved its files
    if is_main():
        raise error
    raise SystemExit(0) from error


class Meeting:
    """Keeps errors of single ranks until all ranks meet, so that none waits for one that has stopped.

    All ranks meet at the end of ``with meeting():``, and stop if one has an error; ``with meeting(later=True):`` keeps
    an error for the next meeting. In a single process an error is raised at once.
    """

    def __init__(self) -> None:
        self.first: UserError | None = None

    @contextmanager
    def __call__(self, later: bool = False) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            if not _together():
                raise
            self.first = self.first or error
        if not later:
            self.meet()

    def meet(self) -> None:
        """Stop if any rank has an error. All ranks call this."""
        if error := next(filter(None, gather(self.first)), None):
            stop(error)


def _sendable(example: Example) -> Example:
    """A copy without encoded pictures, which stay on their rank: each row may hold megabytes."""
    small: dict[str, Any] = {name: b"" for name in ("image", "zoom_image") if isinstance(getattr(example, name), bytes)}
    return replace(example, earlier_images=(), **small)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
