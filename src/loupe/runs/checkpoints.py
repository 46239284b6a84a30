"""Checkpoints to resume from: at every validation, or where one would be if there were questions for it, and when a run
stops between two steps: by Ctrl-C or SIGTERM, or because the engine of its rollouts has ended.
"""

import logging
import os
import pickle
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from loupe.atomic import replacing
from loupe.errors import EngineLost, Interrupted
from loupe.grpo import distributed
from loupe.paths import moved
from loupe.runs.config import override
from loupe.runs.files import BEST, LAST, PREVIOUS

LOG = logging.getLogger(__name__)
UNREADABLE = (RuntimeError, ValueError, EOFError, pickle.UnpicklingError)
"""What torch raises for a file that is damaged, or no checkpoint."""


class WholeCheckpoints(TorchCheckpointIO):
    """Replaces a checkpoint only when the new one is complete and on disk. Keeps the last one as ``previous.ckpt``.

    That one makes room before anything is written, so a disk that holds three checkpoints is large enough.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: object = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(PREVIOUS).unlink(missing_ok=True)
        with replacing(path) as partial:
            torch.save(checkpoint, partial)
            if path.name == LAST and path.exists():
                _keep(path)


def _keep(last: Path) -> None:
    """Give ``last`` a second name, so that it outlives its replacement and is at no time missing."""
    try:
        os.link(last, last.with_name(PREVIOUS))
    except OSError as error:  # a file system without hard links
        LOG.warning("%s: %s is not kept (%s)", last.parent, PREVIOUS, error.strerror)


def make_last(path: Path, folder: Path) -> None:
    """The checkpoint that a run resumes from becomes its last one; a later one must not be taken up any more."""
    if path.name != LAST:
        with replacing(folder / LAST) as partial:
            try:
                os.link(path, partial)
            except OSError:
                shutil.copyfile(path, partial)


def drop_later_best(folder: Path, step: int) -> None:
    """Remove ``best.ckpt`` if it was saved after ``step``, from which a run resumes, or cannot be read."""
    path = folder / BEST
    with suppress(*UNREADABLE):
        if not path.exists() or read(path)["global_step"] <= step:
            return
    path.unlink()


def read(path: str | Path) -> dict:
    """The content of a checkpoint, mapped into memory. Raises one of ``UNREADABLE`` if it is damaged."""
    return torch.load(path, map_location="cpu", mmap=True, weights_only=True)


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, by validation score. Its state has no absolute paths, so that a run may be moved.

    A resumed run without that file looks for the best one anew.
    """

    def __init__(self, folder: Path):
        super().__init__(folder, Path(BEST).stem, monitor="val/score", mode="max", enable_version_counter=False)

    def best_score(self) -> float | None:
        """None before the first validation."""
        return None if self.best_model_score is None else self.best_model_score.item()

    def state_dict(self) -> dict:
        return moved(super().state_dict(), str(self.dirpath), ".")

    def load_state_dict(self, state: dict) -> None:
        state = moved(state, state["dirpath"], str(self.dirpath))
        kept = state["best_model_path"]
        if distributed.anywhere(bool(kept) and not os.path.exists(kept)):
            LOG.warning("%s: the best one so far is not there; the best one from here on is kept", kept)
        else:
            super().load_state_dict(state)


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after every validation, and stops the run in an orderly way on a signal.

    A run without validations writes it at the steps at which they would be.

    folder: of the checkpoints. command: of this job, to which ``resume=`` is added. It is a ``Checkpoint`` so that
    Lightning calls it after the callback that keeps the best one, whose state it saves.
    """

    def __init__(self, folder: str | Path, command: str):
        self.path = Path(folder) / LAST
        self.command = command
        self.requested = False
        self.earlier: dict = {}

    def on_train_start(self, trainer, module) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self.earlier = {number: signal.signal(number, self._request) for number in numbers}

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        step, last = trainer.global_step, trainer.max_steps
        due = trainer.should_stop or step == last or step % trainer.val_check_batch == 0
        validation_follows = due and sum(trainer.num_val_batches) > 0
        if (distributed.anywhere(self.requested) or due) and not validation_follows:
            self._save(trainer)

    def on_validation_end(self, trainer, module) -> None:
        if trainer.state.fn == "fit":  # not for the validation before the first step
            self._save(trainer)

    def on_exception(self, trainer, module, exception) -> None:
        lost = any(isinstance(e, EngineLost) for e in (exception, exception.__cause__))  # on this rank, or another
        if lost and trainer.state.fn == "fit":  # the policy itself is unharmed
            trainer.save_checkpoint(self.path)
            if distributed.is_main():
                print(f"\nstopped after step {trainer.global_step}; {self._how_to_resume()}")
        if isinstance(exception, KeyboardInterrupt) and distributed.is_main():
            print(f"\nstopped at once; {self._how_to_resume()}")

    def teardown(self, *args, **kwargs) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        self.earlier = {}

    def _save(self, trainer) -> None:
        trainer.save_checkpoint(self.path)
        if distributed.anywhere(self.requested):
            distributed.stop(Interrupted(f"stopped after step {trainer.global_step}; {self._how_to_resume()}"))

    def _how_to_resume(self) -> str:
        if not self.path.exists():
            return "there is no checkpoint to resume from yet"
        return f"to resume: {self.command} {override('resume', self.path.parents[1])}"

    def _request(self, number, frame) -> None:
        self.requested = True
        self.teardown()  # so that the next signal stops at once
        if distributed.is_main():
            print("\nstopping after this step; press Ctrl-C again to stop at once", flush=True)
