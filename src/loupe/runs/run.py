"""One training run between its start and its results, all of which lie in ``paths.output_dir`` (``files.RunFile``)."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from lightning import Trainer, seed_everything
from omegaconf import DictConfig
from transformers.utils import logging as transformers_logging

from loupe.atomic import replacing, write_json
from loupe.data.datamodule import LoupeDataModule
from loupe.errors import MOST_THREADS, UserError, require_int
from loupe.grpo import distributed
from loupe.grpo.module import GRPOModule
from loupe.grpo.scoring import ScoringModule
from loupe.logs.history import history
from loupe.logs.jsonl import FolderLogger
from loupe.metrics.summary import Summary, summarize
from loupe.models.load import save_policy
from loupe.records import Example, TrajectoryType
from loupe.runs.card import write_card
from loupe.runs.checkpoints import BestCheckpoint
from loupe.runs.disk import limits_explained
from loupe.runs.files import RunFile
from loupe.runs.text import comparison, in_columns

LOG = logging.getLogger(__name__)
SHOWN = (TrajectoryType.TOOL_SUCCESS, TrajectoryType.NO_TOOL)  # types of the exchanges in example.png
RESAMPLES = 2000  # of the held-out questions, for the intervals before and after training
NOISE = (
    ".*does not have many workers.*",  # examples are light records, pictures are drawn in the step itself
    ".*smaller than the logging interval.*",  # ours are logged at every step
    ".*isinstance.treespec, LeafSpec.*",  # inside Lightning
    ".*is_gradient_checkpointing.*",  # inside peft
    ".*sync_dist=True.*",  # what is logged already covers all ranks
    "Total length of .* across ranks is zero.*",  # no validation split
    "Checkpoint directory .* exists and is not empty.*",  # a resumed run
)


@contextmanager
def job(cfg: DictConfig) -> Iterator[Path]:
    """The folder of a job, with seeds and threads set for its duration and noisy libraries muted."""
    if require_int("seed", cfg.seed, 0) >= 2**32:
        raise UserError(f"seed={cfg.seed}: must be below 2^32")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if cfg.threads is None else require_int("threads", cfg.threads, 1, MOST_THREADS))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # the report that trainer.profiler asks for
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message)
            seed_everything(cfg.seed, verbose=False)
            folder = Path(cfg.paths.output_dir)
            with limits_explained(folder):
                yield folder
    finally:
        torch.set_num_threads(threads)


@contextmanager
def finishing(trainer: Trainer) -> Iterator[None]:
    """Close the loggers when a run ends, whichever way; after an error also kill the processes that it started."""
    try:
        yield
    except BaseException as error:
        distributed.end_children(trainer)
        if isinstance(error, KeyboardInterrupt):  # outside of Lightning, which would have told them
            for callback in trainer.callbacks:
                callback.on_exception(trainer, trainer.lightning_module, error)
        raise
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, FolderLogger):  # Lightning has ended the others
                logger.finish()


def measure_before(trainer: Trainer, module: ScoringModule, data: LoupeDataModule) -> Summary:
    """The held-out metrics of the untrained policy; this also logs the first point of the learning curve."""
    trainer.validate(module, datamodule=data, verbose=False)
    return evaluate(trainer, module, data, "before")


def evaluate(trainer: Trainer, module: ScoringModule, data: LoupeDataModule, split: str) -> Summary:
    """Greedy metrics on the test questions, if there are any; the trajectories are recorded under ``split``."""
    if data.test is None:
        return {}
    trainer.test(module, datamodule=data, verbose=False)
    if not module.evaluated:
        example = min(module.skipped.lines, default="no rows")
        distributed.stop(UserError(f"none of the test rows could be read; one of them: {example}"))
    recorded = partial(module.recorded, split=split)
    module.reporter.trajectories(trainer.loggers, module.global_step, split, module.evaluated, recorded)
    return summarize(module.rows(module.evaluated, "greedy"), RESAMPLES)


def load_best(trainer: Trainer, module: ScoringModule) -> None:
    """Restore the weights with the best validation score; if nothing was validated, those of the last step stay."""
    kept = trainer.checkpoint_callback
    if isinstance(kept, BestCheckpoint) and kept.best_model_path:
        state = torch.load(kept.best_model_path, map_location=module.device, mmap=True)
        module.load_state_dict(state["state_dict"], strict=False)


def finish(
    cfg: DictConfig,
    folder: Path,
    module: ScoringModule,
    seconds: float,
    after: Summary,
    example: Example,
) -> dict:
    """Save the model with its card, the plots and summary.json, and print the scores before and after.

    example: any question, for the card, in case that none has been judged. Only the main rank writes. Returns the
    content of summary.json.
    """
    kept = module.trainer.checkpoint_callback
    summary = {
        "seed": cfg.seed,
        "seconds": round(seconds, 1),
        "skipped_rows": len(module.skipped),
        "best_val_score": kept.best_score() if isinstance(kept, BestCheckpoint) else None,
        "before": module.before,
        "after": after,
    }
    if not distributed.is_main():
        return summary
    with replacing(folder / RunFile.MODEL) as partial:
        save_policy(module.policy, partial)
    _draw(module, folder)
    if after:
        LOG.info("\n%s", in_columns([["held-out test", "before", "after"], *comparison(module.before, after)]))
    if module.skipped:
        LOG.warning("%d rows could not be read and were skipped", len(module.skipped))
    if isinstance(module, GRPOModule) and not module.had_signal:
        LOG.warning("no group had rewards that differ, so nothing was learned (random weights earn none)")
    LOG.info("trained for %.0f s; everything is in %s", seconds, folder)
    example = module.evaluated[0].example if module.evaluated else example
    write_card(cfg, module.rollout.dialogue, example, summary, folder)
    write_json(folder / RunFile.SUMMARY, summary)  # the last file, because it marks a finished run
    return summary


def _draw(module: ScoringModule, folder: Path) -> None:
    """Draw the run's steps and, as far as there are such, two held-out exchanges, each with the highest reward of its
    kind: one with an executed call, and one without a call.
    """
    try:
        from loupe.runs import plots
    except ModuleNotFoundError as error:  # the machine that trains may lack what draws
        LOG.warning("%s is not installed, so nothing is drawn", error.name)
        return
    steps = history(folder)
    if isinstance(module, GRPOModule):
        plots.advantage_figure(steps, folder / RunFile.ADVANTAGES)
    if isinstance(module.trainer.checkpoint_callback, BestCheckpoint):  # there are validation scores
        plots.learning_figure(steps, folder / RunFile.LEARNING)
    at_hand = [group for group in module.evaluated if group.example.image]  # not the encoded pictures of other ranks
    of_type = {kind: [group for group in at_hand if group.trajectories[0].type is kind] for kind in SHOWN}
    best = [max(groups, key=lambda group: group.trajectories[0].reward) for groups in of_type.values() if groups]
    if best:
        whole = [replace(group, prompt=module.rollout.dialogue.prompt(group.example)) for group in best]
        told = list(zip(whole, module.rows(best, "greedy"), strict=True))
        plots.exchanges_figure(told, module.rollout.environment, folder / RunFile.EXAMPLE)
