"""One run from configuration to results. Everything it leaves lies in ``paths.output_dir``:

config.yaml, provenance.json (commit, versions, command) and diff.patch; metrics.jsonl, timing.jsonl and
trajectories.jsonl; wandb/; checkpoints/; model/; advantages.png, learning.png, example.png; summary.json; train.log.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lightning
import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from transformers.utils import logging as transformers_logging

from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import UserError, require_choice, require_int
from loupe.grpo import distributed
from loupe.grpo.module import GRPOModule
from loupe.logs.history import history
from loupe.logs.wandb_logger import JsonlLogger
from loupe.metrics import training as metrics
from loupe.models.load import save_policy
from loupe.records import TrajectoryType
from loupe.runs import plots
from loupe.runs.card import figure, write_card
from loupe.runs.checkpoints import LastCheckpoint
from loupe.runs.cli import LOG, run_folder
from loupe.runs.columns import in_columns
from loupe.runs.config import resolved
from loupe.runs.progress import ProgressBar
from loupe.runs.provenance import command_line, set_aside, write_provenance
from loupe.tools import Tool

# Others would round the rotary frequencies (bf16-true) or need scaled losses (16-mixed).
PRECISIONS = ("32-true", "bf16-mixed")
NOISE = (
    ".*does not have many workers.*",  # examples are light records, pictures are drawn in the step itself
    ".*smaller than the logging interval.*",  # ours are logged at every step
    ".*isinstance.treespec, LeafSpec.*",  # within Lightning
    ".*is_gradient_checkpointing.*",  # within peft
    ".*sync_dist=True.*",  # what is logged is of all ranks already
    "Checkpoint directory .* exists and is not empty.*",  # a resumed run
)


@contextmanager
def job(cfg: DictConfig) -> Iterator[Path]:
    """The run's folder, with seeds, threads and noise set for this job and set back after it."""
    if require_int("seed", cfg.seed, 0) >= 2**32:
        raise UserError(f"seed={cfg.seed}: must be below 2^32")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if cfg.threads is None else require_int("threads", cfg.threads, 1))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message)
            lightning.seed_everything(cfg.seed, verbose=False)
            yield Path(cfg.paths.output_dir)
    finally:
        torch.set_num_threads(threads)


def build_rollout(cfg: DictConfig, policy: Policy, tool: Tool) -> GroupRollout:
    """The rollout of a policy that is told of this tool."""
    dialogue = make(cfg.prompt, policy=policy, tool=tool)
    return make(cfg.rollout, policy=policy, dialogue=dialogue, tool=tool)


def build_module(cfg: DictConfig) -> GRPOModule:
    """Policy, tool, dialogue, rollout and reward, put together."""
    policy = make(cfg.model)
    return make(
        cfg.algorithm,
        policy=policy,
        rollout=build_rollout(cfg, policy, make(cfg.tool)),
        reward=make(cfg.reward),
        reporter=make(cfg.report),
        total_steps=cfg.trainer.max_steps,
        folder=cfg.paths.output_dir,
    )


@contextmanager
def finishing(trainer: lightning.Trainer) -> Iterator[None]:
    """Close the loggers when a run ends, whichever way; after an error, end the processes that it started, too."""
    try:
        yield
    except BaseException:
        distributed.end_children(trainer)
        raise
    finally:
        for logger in trainer.loggers:
            logger.finish()


def build_trainer(cfg: DictConfig, folder: Path, keep_best: bool = True, one_device: bool = False) -> lightning.Trainer:
    """The Lightning trainer with its loggers, best and last checkpoint, and an orderly stop on Ctrl-C."""
    asked = cfg.trainer
    require_choice("trainer.precision", asked.precision, PRECISIONS)
    every = min(require_int("trainer.val_check_interval", asked.val_check_interval, 1), asked.max_steps)
    checkpoints = folder / "checkpoints"
    best = ModelCheckpoint(checkpoints, "best", monitor="val/score", mode="max", enable_version_counter=False)
    bar = [ProgressBar()] if asked.enable_progress_bar else []
    loggers = [JsonlLogger(folder), make(cfg.logger, run_config=resolved(cfg))]
    try:
        trainer = make(
            asked,
            val_check_interval=every,
            logger=loggers,
            callbacks=[*([best] if keep_best else []), LastCheckpoint(checkpoints, command_line()), *bar],
            default_root_dir=str(folder),
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"{str(error).splitlines()[0]} (given: {_settings(asked)})") from error
    distributed.check(trainer, one_device)
    distributed.mute()
    return trainer


def _settings(asked: Mapping) -> str:
    return ", ".join(f"trainer.{k}={v}" for k, v in asked.items() if k[0] != "_" and not isinstance(v, Mapping))


@contextmanager
def device(cfg: DictConfig, policy: Policy) -> Iterator[None]:
    """Move the policy to where ``trainer.accelerator`` and ``devices`` say; compute in ``trainer.precision``."""
    asked = {key: cfg.trainer[key] for key in ("accelerator", "devices", "precision")}
    require_choice("trainer.precision", asked["precision"], PRECISIONS)
    try:
        fabric = lightning.Fabric(**asked)
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{str(error).splitlines()[0]} (given: {_settings(asked)})") from error
    distributed.check(fabric, one_device=True)
    policy.to(fabric.device)
    with fabric.autocast():
        yield


def begin(cfg: DictConfig, folder: Path) -> dict:
    """Make the folder ready, once everything could be built: keep an earlier run, or go on with it.

    Returns the checkpoint to go on from; for a new run there is nothing in it. Only the main rank touches the folder.
    """
    earlier = resumed(cfg)
    if not distributed.is_main():
        return earlier
    if earlier:
        JsonlLogger(folder).resume(earlier["global_step"])
    elif aside := set_aside(folder):
        LOG.info("%s held an earlier run; it is now in %s", folder, aside)
    folder.mkdir(parents=True, exist_ok=True)
    write_provenance(cfg, folder)
    return earlier


def claim(cfg: DictConfig, folder: Path) -> None:
    """Make the folder of an entry that does not train; refuse one in which the records of a run would be lost."""
    if cfg.resume:
        raise UserError(f"resume={cfg.resume}: only training goes on; give model.path=<run>/model")
    if (folder / "checkpoints").exists():
        raise UserError(f"paths.output_dir={folder}: holds a run; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)


def make(node: DictConfig, **given):
    """Instantiate a configuration node; nested nodes become plain dicts and lists.

    ``given`` is passed by hand, since Hydra would copy it: every part must hold the same policy.
    """
    return maker(node)(**given)


def maker(node: DictConfig) -> Callable:
    """Makes what a node describes, as often as it is called; the node is read once."""
    return instantiate(node, _convert_="all", _partial_=True)


def checkpoint(cfg: DictConfig) -> str | None:
    """The checkpoint that ``resume`` names: a file, or the last one of a run's folder."""
    if not cfg.resume:
        return None
    path = Path(cfg.resume)
    path = path if path.is_file() else Path(run_folder(cfg.resume, cfg.resume)) / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise UserError(f"resume={cfg.resume}: no checkpoint at {path}; give a checkpoint file or a run's folder")
    return str(path)


def resumed(cfg: DictConfig) -> dict:
    """What ``resume`` names, checked to fit this configuration; empty for a new run."""
    if not cfg.resume:
        return {}
    path = checkpoint(cfg)
    own = Path(run_folder(cfg.resume, ""))
    if own.resolve() != Path(cfg.paths.output_dir).resolve():
        raise UserError(f"resume={cfg.resume}: goes on in its own folder; leave paths.output_dir out, or copy {own}")
    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"resume={cfg.resume}: not a checkpoint, or a broken one; give another") from error
    if not isinstance(state, dict) or "global_step" not in state:
        raise UserError(f"resume={cfg.resume}: not a checkpoint of a training run")
    if distributed.is_main():  # which soon writes the file anew
        _compare(OmegaConf.load(own / "config.yaml"), resolved(cfg))
    return state


def _compare(earlier: DictConfig, now: dict) -> None:
    """Refuse another model; name whatever else has changed since the run was begun."""
    changed = [
        key for key, value in now.items() if key != "resume" and value != OmegaConf.to_container(earlier).get(key)
    ]
    if "model" in changed:
        raise UserError("resume: the model settings differ from those in the run's config.yaml; repeat the same ones")
    if changed:
        LOG.warning("resuming with other settings than the run began with: %s", ", ".join(changed))


def measure_before(trainer: lightning.Trainer, module: GRPOModule, data: lightning.LightningDataModule) -> dict:
    """The held-out figures of the untrained policy; the learning curve's first point is logged on the way."""
    trainer.validate(module, datamodule=data, verbose=False)
    return evaluate(trainer, module, data, "before")


def evaluate(trainer: lightning.Trainer, module: GRPOModule, data: lightning.LightningDataModule, when: str) -> dict:
    """Greedy figures on the held-out test pictures; the trajectories go to the logs under ``when``."""
    trainer.test(module, datamodule=data, verbose=False)
    if not module.evaluated:
        one = min(module.skipped, default="no rows")
        distributed.stop(UserError(f"none of the test rows could be read; one of them: {one}"))
    module.reporter.trajectories(trainer.loggers, module.global_step, when, module.evaluated)
    return metrics.held_out_metrics(module.evaluated)


def load_best(trainer: lightning.Trainer, module: GRPOModule) -> None:
    """Go back to the weights that were best on the validation pictures."""
    state = torch.load(trainer.checkpoint_callback.best_model_path, map_location=module.device, mmap=True)
    module.load_state_dict(state["state_dict"], strict=False)


def finish(cfg: DictConfig, folder: Path, module: GRPOModule, seconds: float, after: dict) -> dict:
    """Save the model with its card, the figures and summary.json, and tell the scores before and after.

    Only the main rank does so.
    """
    summary = {
        "seed": cfg.seed,
        "seconds": round(seconds, 1),
        "skipped_rows": len(module.skipped),
        "best_val_score": module.trainer.checkpoint_callback.best_model_score.item(),
        "before": module.before,
        "after": after,
    }
    if not distributed.is_main():
        return summary
    save_policy(module.policy, folder / "model")
    steps = history(folder)
    plots.advantage_figure(steps, folder / "advantages.png")
    plots.learning_figure(steps, folder / "learning.png")
    _draw_example(module, folder / "example.png")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    table = [["held-out test", "before", "after"]]
    table += [[key, figure(value), figure(after[key])] for key, value in module.before.items()]
    LOG.info("\n%s", in_columns(table))
    if module.skipped:
        LOG.warning("%d rows could not be read and were skipped", len(module.skipped))
    if not module.had_signal:
        LOG.warning("no group had rewards that differ, so nothing was learned (random weights earn none)")
    LOG.info("trained %.0f s; everything is in %s", seconds, folder)
    write_card(cfg, module.rollout.dialogue, module.evaluated[0].example, summary, folder)
    return summary


def _draw_example(module: GRPOModule, out: Path) -> None:
    """Draw the held-out answer that earned most with a zoom, if any zoomed."""
    at_hand = [group for group in module.evaluated if group.example.image]  # not the encoded pictures of other ranks
    zoomed = [group for group in at_hand if group.trajectories[0].type is TrajectoryType.TOOL_SUCCESS]
    if zoomed:
        best = max(zoomed, key=lambda group: group.trajectories[0].reward)
        dialogue = module.rollout.dialogue
        best.prompt = dialogue.prompt(best.example)
        plots.exchange_picture(best, dialogue, module.rollout.tool).save(out)
