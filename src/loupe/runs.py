"""One run from configuration to results. Everything it leaves lies in ``paths.output_dir``:

config.yaml, provenance.json (commit, versions, command) and diff.patch; metrics.jsonl, timing.jsonl and
trajectories.jsonl; wandb/; checkpoints/; model/; advantages.png; summary.json.
"""

from __future__ import annotations

import json
import logging
import platform
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig, OmegaConf
from transformers.utils import logging as transformers_logging

from loupe import metrics, plots
from loupe.cli import resolved
from loupe.errors import UserError, require_int
from loupe.interrupt import GracefulStop
from loupe.loggers import JsonlLogger
from loupe.models.load import save_policy
from loupe.module import GRPOModule
from loupe.progress import ProgressBar

LEFT_BY_A_RUN = (
    *("config.yaml", "provenance.json", "diff.patch", "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"),
    *("wandb", "checkpoints", "model", "advantages.png", "summary.json", "nonfinite_batch.pt"),
)
PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "peft", "wandb", "pillow", "Levenshtein")


@contextmanager
def job(cfg: DictConfig) -> Iterator[Path]:
    """The run's folder, with seeds, threads and noise set for this job and set back after it."""
    require_int("seed", cfg.seed, 0)
    folder = Path(cfg.paths.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if not cfg.resume:
        _set_aside(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(require_int("threads", cfg.threads, 1) if cfg.threads else threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Examples are light records and pictures are drawn in the step itself: no workers are needed.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")  # within Lightning
            lightning.seed_everything(cfg.seed, verbose=False)
            _write_provenance(cfg, folder)
            yield folder
    finally:
        torch.set_num_threads(threads)


def build_module(cfg: DictConfig) -> GRPOModule:
    """Policy, tool, dialogue, rollout and reward, put together."""
    policy = make(cfg.model)
    tool = make(cfg.tool)
    dialogue = make(cfg.prompt, policy=policy, tool_instruction=tool.instruction)
    rollout = make(cfg.rollout, policy=policy, dialogue=dialogue, tool=tool)
    return make(
        cfg.algorithm,
        policy=policy,
        rollout=rollout,
        reward=make(cfg.reward),
        reporter=make(cfg.report),
        total_steps=cfg.trainer.max_steps,
        folder=cfg.paths.output_dir,
    )


def build_trainer(cfg: DictConfig, folder: Path) -> lightning.Trainer:
    """The Lightning trainer with its loggers, best and last checkpoint, and an orderly stop on Ctrl-C."""
    files = JsonlLogger(folder)
    if cfg.resume:
        files.resume(resumed(cfg)["global_step"])
    best = ModelCheckpoint(
        folder / "checkpoints",
        "best",
        monitor="val/score",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    every = min(require_int("trainer.val_check_interval", cfg.trainer.val_check_interval, 1), cfg.trainer.max_steps)
    return make(
        cfg.trainer,
        val_check_interval=every,
        logger=[files, make(cfg.logger, run_config=resolved(cfg))],
        callbacks=[
            best,
            GracefulStop(best.dirpath, command_line()),
            *([ProgressBar()] if cfg.trainer.enable_progress_bar else []),
        ],
        default_root_dir=str(folder),
    )


def make(node: DictConfig, **given):
    """Instantiate a configuration node; nested nodes become plain dicts and lists.

    ``given`` is passed by hand, since Hydra would copy it: every part must hold the same policy.
    """
    return instantiate(node, _convert_="all", _partial_=True)(**given)


def checkpoint(cfg: DictConfig) -> str | None:
    """The checkpoint that ``resume`` names: a file, or the last one of a run's folder."""
    if not cfg.resume:
        return None
    path = Path(cfg.resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"resume={cfg.resume}: no checkpoint at {path}; give a checkpoint file or a run's folder")
    return str(path)


def resumed(cfg: DictConfig) -> dict:
    """The checkpoint to go on from; for a new run there is nothing in it."""
    return torch.load(checkpoint(cfg), map_location="cpu", mmap=True, weights_only=True) if cfg.resume else {}


def evaluate(trainer: lightning.Trainer, module: GRPOModule, data: lightning.LightningDataModule, when: str) -> dict:
    """Greedy figures on the held-out test pictures; the trajectories go to the logs under ``when``."""
    trainer.test(module, datamodule=data, verbose=False)
    if not module.evaluated:
        raise UserError(f"none of the test rows could be read; the first: {next(iter(module.skipped), 'no rows')}")
    module.reporter.trajectories(trainer.loggers, module.global_step, when, module.evaluated)
    return metrics.summary_metrics(module.evaluated)


def load_best(trainer: lightning.Trainer, module: GRPOModule) -> None:
    """Go back to the weights that were best on the validation pictures."""
    state = torch.load(trainer.checkpoint_callback.best_model_path, map_location=module.device, mmap=True)
    module.load_state_dict(state["state_dict"], strict=False)


def finish(cfg: DictConfig, folder: Path, module: GRPOModule, seconds: float, after: dict) -> dict:
    """Save the model, the advantage figure and summary.json, and print the figures before and after."""
    save_policy(module.policy, folder / "model")
    plots.advantage_figure(folder / "metrics.jsonl", folder / "advantages.png")
    summary = {
        "seed": cfg.seed,
        "seconds": round(seconds, 1),
        "skipped_rows": len(module.skipped),
        "before": module.before,
        "after": after,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{'held-out test':<20}{'before':>10}{'after':>10}")
    for key, value in module.before.items():
        print(f"{key:<20}{_figure(value):>10}{_figure(after[key]):>10}")
    if module.skipped:
        print(f"{len(module.skipped)} rows could not be read and were skipped")
    print(f"trained {seconds:.0f} s; everything is in {folder}")
    return summary


def command_line() -> str:
    """The command to repeat this job, quoted for the shell."""
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return shlex.join(["python", "src/train.py", *overrides])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _set_aside(folder: Path) -> None:
    """Keep what an earlier run left in this folder, under previous-N."""
    left = [folder / name for name in LEFT_BY_A_RUN if (folder / name).exists()]
    if not left:
        return
    number = 1
    while (aside := folder / f"previous-{number}").exists():
        number += 1
    aside.mkdir()
    for path in left:
        shutil.move(path, aside / path.name)
    print(f"{folder} held an earlier run; it is now in {aside}")


def _write_provenance(cfg: DictConfig, folder: Path) -> None:
    """What this run was made from: resolved configuration, commit and uncommitted diff, versions, command."""
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    provenance = {
        "command": command_line(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": _git("rev-parse", "HEAD"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    if diff := _git("diff", "HEAD"):
        (folder / "diff.patch").write_text(diff + "\n")


def _git(*arguments: str) -> str | None:
    """Output of git in the project's folder; None where there is no git or no repository."""
    if shutil.which("git") is None:
        return None
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
