"""The policy at chosen steps of a training, each in a folder like that of the trained model."""

import shutil
from pathlib import Path

import lightning

from loupe.atomic import replacing
from loupe.errors import UserError, require_int
from loupe.grpo import distributed
from loupe.models.load import save_policy
from loupe.runs.files import RunFile

STEP = "step_"


def drop_later(folder: Path, step: int) -> None:
    """Remove the snapshots of a run that were saved after ``step``, from which it resumes."""
    for saved in folder.glob(f"{STEP}*"):
        if (number := saved.name.removeprefix(STEP)).isdecimal() and int(number) > step:
            shutil.rmtree(saved)


class Snapshots(lightning.Callback):
    """Saves the policy as ``snapshots/step_<n>`` in the folder of the run, for ``model.path=``.

    steps: 0 is the policy before training. With trainer=zero, weights are saved in the precision in which the policy
    computes with them.
    """

    def __init__(self, steps: list[int]):
        if not isinstance(steps, list):
            raise UserError(f"trainer.callbacks: steps={steps}: must be a list of steps, such as [0, 50, 100]")
        self.steps = [require_int("trainer.callbacks: steps", step, 0) for step in steps]

    def check(self, max_steps: int) -> None:
        """Raise UserError for a step that a run of ``max_steps`` never reaches."""
        if (last := max(self.steps, default=0)) > max_steps:
            raise UserError(f"trainer.callbacks: steps: {last} is beyond trainer.max_steps={max_steps}; leave it out")

    def on_train_start(self, trainer, pl_module) -> None:
        self._save(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *batch) -> None:
        self._save(trainer, pl_module)

    def _save(self, trainer, pl_module) -> None:
        if trainer.global_step not in self.steps or not distributed.is_main():
            return
        folder = Path(trainer.default_root_dir) / RunFile.SNAPSHOTS
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{STEP}{trainer.global_step}") as partial:
            save_policy(pl_module.policy, partial)
