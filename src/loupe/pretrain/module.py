"""Supervised training of the base on the lessons of a curriculum, and the measurement of its skills."""

import logging
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from loupe.atomic import replacing, write_json
from loupe.errors import MOST_THREADS, require_int
from loupe.models.load import save_policy
from loupe.pretrain.curriculum import Curriculum
from loupe.sft.module import SupervisedModule

LOG = logging.getLogger(__name__)


class PretrainModule(SupervisedModule):
    """Trains a policy on a curriculum.

    measure: returns the policy's skills as metrics. num_workers: processes that prepare lessons. The rest is passed to
    ``SupervisedModule``.
    """

    def __init__(self, curriculum: Curriculum, measure: Callable[[], dict[str, float]], num_workers: int = 0, **rest):
        super().__init__(total_steps=curriculum.steps, settings="pretrain.module", **rest)
        self.curriculum = curriculum
        self.measure = measure
        self.num_workers = require_int("pretrain.module.num_workers", num_workers, 0, MOST_THREADS)
        self.skills: dict[str, float] = {}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.curriculum,
            batch_size=None,
            # It has no length, because Lightning would add the steps before a resume to it.
            sampler=count(self.trainer.global_step),
            num_workers=self.num_workers,
            generator=torch.Generator(),  # leaves the global generator alone, see LoupeDataModule
        )

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        """Return the batch unchanged; the policy moves what it needs."""
        return batch

    def val_dataloader(self) -> DataLoader:
        # A single call; the skills bring their own pictures.
        return DataLoader([0])  # type: ignore[arg-type]  # torch's Dataset is not a protocol

    def validation_step(self, batch, batch_idx: int = 0) -> None:
        self.skills = self.measure()
        table = "\n".join(f"  {name:<28}{value:>8.3f}" for name, value in self.skills.items())
        LOG.info("skills after step %d\n%s", self.global_step, table)
        self.reporter.validation(self.loggers, self.global_step, self.skills)

    def on_validation_epoch_end(self) -> None:
        """Do nothing: the skills are all there is to report."""


def finish(folder: Path, module: PretrainModule) -> dict[str, float]:
    """Save the base in half precision, and its skills; returns the skills."""
    base = module.policy.frozen_copy()
    base.model.half()
    with replacing(folder / "model") as partial:
        save_policy(base, partial)
    skills = module.skills or module.measure()  # a run that resumes at its last step has not validated
    write_json(folder / "skills.json", skills)
    LOG.info("saved the base to %s", folder / "model")
    return skills
