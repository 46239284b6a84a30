"""Several processes (ranks), each with questions of its own, acting as one process with all their questions.

Every rank calls these functions in the same order, however many tool turns and micro-batches it has of its own, and
also with an empty batch. Where there is only one process nothing happens: ``gather`` returns what it was given alone.
"""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import NoReturn, TypeVar

import lightning
import torch
import torch.distributed as dist
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only

from loupe.errors import UserError
from loupe.records import Example, Group
from loupe.runs.sweeps import in_sweep

T = TypeVar("T")


class Ranks(DDPStrategy):
    """Lightning's DDP (``trainer=ddp``) without the wrapper that reduces gradients during a backward pass.

    A step makes as many backward passes as a rank happens to need, so gradients are summed once at its end instead
    (``sum_gradients``). Every rank begins with the weights of the first.

    threads: of torch on CPUs, for each process; None leaves Lightning to share the cores out.
    """

    def __init__(self, threads: int | None = None, **options):
        super().__init__(**options)
        self.threads = threads

    def setup_environment(self) -> None:
        super().setup_environment()
        if self.threads is not None:  # Lightning has just set its own number
            torch.set_num_threads(self.threads)

    def setup(self, trainer: lightning.Trainer) -> None:
        folders = gather(trainer.default_root_dir)
        if len(set(folders)) > 1:
            stop(UserError(f"the processes write to {len(set(folders))} folders; give all the same paths.output_dir"))
        super().setup(trainer)

    def configure_ddp(self) -> None:
        _sync_module_states(self.model)  # as Lightning does itself where it does not train


def check(trainer: lightning.Trainer | lightning.Fabric, one_device: bool = False) -> None:
    """Refuse more devices than this job can use, and ways to start them that do not work."""
    devices = trainer.world_size
    if devices == 1:
        return
    if one_device:
        raise UserError(f"{devices} devices: this job uses only one; use trainer.devices=1")
    if not isinstance(trainer.strategy, Ranks):
        raise UserError(f"{devices} devices: say trainer=ddp as well, or use trainer.devices=1")
    if in_sweep() and not trainer.strategy.cluster_environment.creates_processes_externally:
        # Lightning starts the other processes with the same command, which would be the whole sweep.
        raise UserError("a sweep (-m) over several devices needs hydra/launcher=submitit_slurm; or start run by run")


def is_main() -> bool:
    """Whether this is the rank that writes and speaks; certain once there is a trainer."""
    return rank_zero_only.rank == 0


def mute() -> None:
    """Let only the main rank log anything but errors."""
    if not is_main():
        logging.disable(logging.WARNING)


def signed(message: str) -> str:
    """An error's message; if it comes from another rank than the main one, with that rank's number."""
    return message if is_main() else f"rank {rank_zero_only.rank}: {message}"


def end_children(trainer: lightning.Trainer) -> None:
    """End the processes that this one has started: after an error they would wait for it."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.kill(signal.SIGKILL)
        launcher.procs.clear()  # or else Lightning takes their end for a failure and kills this process, too


def rank() -> int:
    """This process's place in what ``gather`` returns."""
    return dist.get_rank() if _together() else 0


def gather(part: T) -> list[T]:
    """What each rank gave, in the order of ranks, on every rank. ``part`` must be something to pickle."""
    if not _together():
        return [part]
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def flat(parts: list[list[T]]) -> list[T]:
    """Part after part: the order in which training deals questions out."""
    return [item for part in parts for item in part]


def interleaved(parts: list[list[T]]) -> list[T]:
    """The first of each part, then the second of each, and so on: the order in which evaluation deals them out."""
    missing = object()
    return [item for row in zip_longest(*parts, fillvalue=missing) for item in row if item is not missing]


def anywhere(flag: bool) -> bool:
    """Whether it is so on any rank."""
    return any(gather(flag))


def total(sums: Counter) -> Counter:
    """Sums over all ranks, key by key."""
    totals = Counter()
    for part in gather(sums):
        totals.update(part)
    return totals


def gather_groups(groups: list[Group]) -> list[list[Group]]:
    """The groups of each rank: this rank's as they are, those of others without pictures (``Group.light``)."""
    if not _together():
        return [groups]
    parts = gather([replace(group.light(), example=_sendable(group.example)) for group in groups])
    parts[rank()] = groups
    return parts


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over all ranks.

    A rank without a gradient counts as zeros. What has a gradient nowhere keeps none, so that the optimiser passes it
    over as it would in one process.
    """
    if not _together():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    present = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device)
    dist.all_reduce(present, dist.ReduceOp.MAX)
    used = [parameter for parameter, somewhere in zip(trained, present.tolist(), strict=True) if somewhere]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for work in [dist.all_reduce(parameter.grad, async_op=True) for parameter in used]:
        work.wait()


def stop(error: UserError) -> NoReturn:
    """End the run on all ranks, which all call this: the main one raises ``error``, the others leave quietly."""
    gather(None)  # the main rank ends the others, so each must be done with what it had to save
    if is_main():
        raise error
    raise SystemExit(0)


class Faults:
    """Errors of single ranks, held back until all ranks meet, so that none waits for one that is gone.

    Where there is only one process an error is raised at once.
    """

    def __init__(self):
        self.first: UserError | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold back an error of the user's that is raised within."""
        try:
            yield
        except UserError as error:
            if not _together():
                raise
            self.first = self.first or error

    def meet(self) -> None:
        """Stop if any rank holds an error. All ranks call this."""
        errors = [error for error in gather(self.first) if error]
        if errors:
            stop(errors[0])


def _sendable(example: Example) -> Example:
    """Without encoded pictures, which stay on their rank: a data set may hold megabytes in each row."""
    small = {name: b"" for name in ("image", "zoom_image") if isinstance(getattr(example, name), bytes)}
    return replace(example, earlier_images=(), **small)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
