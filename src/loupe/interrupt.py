"""Ctrl-C (or SIGTERM) ends a run between two steps, with a checkpoint and the command that resumes it."""

from __future__ import annotations

import signal
from pathlib import Path

from lightning.pytorch.callbacks import Checkpoint

from loupe.errors import UserError


class Interrupted(UserError):
    """The user stopped the run; says how to go on."""


class GracefulStop(Checkpoint):
    """folder: of the checkpoints; the one written here is ``last.ckpt``. command: to which ``resume=`` is added.

    A ``Checkpoint``, so that Lightning calls it after the callback that keeps the best one.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, folder: str | Path, command: str):
        self.path = Path(folder) / "last.ckpt"
        self.command = command
        self.requested = False
        self.earlier: dict = {}

    def on_train_start(self, trainer, module) -> None:
        self.earlier = {number: signal.signal(number, self._request) for number in self.SIGNALS}

    def _request(self, number, frame) -> None:
        self.requested = True
        self._restore()
        print("\nstopping after this step; press Ctrl-C again to stop at once", flush=True)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step % trainer.val_check_batch:  # else the validation comes first
            self._stop_if_requested(trainer)

    def on_validation_end(self, trainer, module) -> None:
        self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer) -> None:
        if self.requested:
            trainer.save_checkpoint(self.path)
            run = self.path.parents[1]
            raise Interrupted(
                f"stopped after step {trainer.global_step}; to go on: "
                f"{self.command} paths.output_dir={run} resume={self.path}"
            )

    def teardown(self, trainer, module, stage) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        self.earlier = {}
