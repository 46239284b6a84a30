"""Supervised training of the base: weighted cross-entropy on the lessons of a curriculum."""

import logging
import math
from collections.abc import Callable
from itertools import count
from pathlib import Path

import lightning
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from loupe.atomic import replacing, write_json
from loupe.engine.policy import Policy
from loupe.errors import MOST_THREADS, NonFiniteError, require_int, require_number
from loupe.grpo.optim import checked, keep_settings, warmup_cosine
from loupe.models.load import save_policy
from loupe.pretrain.curriculum import Curriculum
from loupe.pretrain.lessons import LessonBatch

LOG = logging.getLogger(__name__)


class PretrainModule(lightning.LightningModule):
    """Trains a policy on a curriculum.

    measure: returns the policy's skills as metrics.
    matrix_optimizer, optimizer: make the optimizers of the weight matrices in the layers and of all other parameters
        (embeddings, patch projection, norms, biases).
    warmup_steps: of linear warm-up; a cosine decay to 0 follows. num_workers: processes that prepare lessons.

    Raises UserError for settings out of range.
    """

    def __init__(
        self,
        policy: Policy,
        curriculum: Curriculum,
        measure: Callable[[], dict[str, float]],
        matrix_optimizer: Callable,
        optimizer: Callable,
        warmup_steps: int = 50,
        max_grad_norm: float = 1.0,
        num_workers: int = 0,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.curriculum = curriculum
        self.measure = measure
        self.make_matrix_optimizer = checked("pretrain.module.matrix_optimizer", matrix_optimizer)
        self.make_optimizer = checked("pretrain.module.optimizer", optimizer)
        self.warmup_steps = require_int("pretrain.module.warmup_steps", warmup_steps, 0)
        self.max_grad_norm = require_number("pretrain.module.max_grad_norm", max_grad_norm, 0, above=True)
        self.num_workers = require_int("pretrain.module.num_workers", num_workers, 0, MOST_THREADS)
        self.skills: dict[str, float] = {}

    def configure_optimizers(self):
        named = list(self.policy.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
        rest = [p for name, p in named if p.ndim != 2 or "embed" in name]
        optimizers = [self.make_matrix_optimizer(matrices), self.make_optimizer(rest)]

        def rate(step: int) -> float:
            return warmup_cosine(step, self.warmup_steps, self.curriculum.steps)

        return optimizers, [LambdaLR(optimizer, rate) for optimizer in optimizers]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.curriculum,
            batch_size=None,
            # It has no length, because Lightning would add the steps before a resume to it.
            sampler=count(self.trainer.global_step),
            num_workers=self.num_workers,
            generator=torch.Generator(),  # leaves the global generator alone, see LoupeDataModule
        )

    def training_step(self, batch: list[LessonBatch], batch_idx: int) -> None:
        total = sum(part.weights.sum().item() for part in batch)
        report = {"loss": 0.0}
        for part in batch:
            nll, _ = score(self.policy, part)
            loss = (nll * part.weights.to(nll)).sum() / total
            loss.backward()
            report["loss"] += loss.item()
        report["grad_norm"] = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm).item()
        if not all(map(math.isfinite, report.values())):
            raise NonFiniteError(f"step {self.global_step}: loss {report['loss']}; lower pretrain.module.*optimizer.lr")
        matrices, rest = self.optimizers()
        matrices.optimizer.step()
        rest.step()  # the only step that Lightning counts
        self.policy.zero_grad()
        for schedule in self.lr_schedulers():
            schedule.step()
        self.log("loss", report["loss"], prog_bar=True, logger=False, batch_size=1)
        self._report(report)

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        """Return the batch unchanged; the policy moves what it needs."""
        return batch

    def val_dataloader(self) -> DataLoader:
        # A single call; the skills bring their own pictures.
        return DataLoader([0])  # type: ignore[arg-type]  # torch's Dataset is not a protocol

    def validation_step(self, batch, batch_idx: int) -> None:
        self.skills = self.measure()
        table = "\n".join(f"  {name:<28}{value:>8.3f}" for name, value in self.skills.items())
        LOG.info("skills after step %d\n%s", self.global_step, table)
        self._report({f"val/{name}": value for name, value in self.skills.items()})

    def on_fit_start(self) -> None:
        self.policy.train()

    def on_train_start(self) -> None:
        for optimizer, schedule in zip(self.optimizers(), self.lr_schedulers(), strict=True):
            keep_settings(optimizer.optimizer, schedule)

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.global_step == self.curriculum.steps:  # makes Lightning validate after the last step too
            self.trainer.should_stop = True

    def _report(self, report: dict) -> None:
        for logger in self.loggers:
            logger.log_metrics(report, self.global_step)


def score(policy: Policy, batch: LessonBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """For each weighted token [N] its negative log-probability in nats, and whether it is the most likely token."""
    device = policy.device
    states = policy.branch_states(policy.encode_prefixes(batch.prefixes), batch.branches)[batch.places.to(device)]
    logp, targets = policy.log_distribution(states, temperature=1.0), batch.targets.to(device)
    return -logp.gather(1, targets[:, None])[:, 0], logp.argmax(-1) == targets


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
