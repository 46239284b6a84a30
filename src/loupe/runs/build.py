"""From a configuration to the parts of a run: rollout, module, trainer, device."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lightning
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf, open_dict

from loupe.data.datamodule import LoupeDataModule, StepSampler
from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import UserError, require_choice, require_int
from loupe.grpo import distributed
from loupe.grpo.module import GRPOModule
from loupe.logs.jsonl import JsonlLogger
from loupe.runs.checkpoints import BestCheckpoint, LastCheckpoint, WholeCheckpoints
from loupe.runs.config import command_line, in_sweep, instantiate, resolved
from loupe.runs.files import RunFile
from loupe.runs.snapshots import Snapshots
from loupe.tools.toolbox import Toolbox

# Other precisions would round the rotary frequencies (bf16-true) or need scaled losses (16-mixed).
PRECISIONS = ("32-true", "bf16-mixed")


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the epoch, which means nothing for an endless stream."""

    def on_train_epoch_start(self, trainer, *args) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("Training")


def build_rollout(cfg: DictConfig, policy: Policy, tools: Toolbox) -> GroupRollout:
    """The rollout of a policy whose prompt explains these tools."""
    dialogue = instantiate(cfg.prompt, policy=policy, tools=tools)
    return instantiate(cfg.rollout, policy=policy, dialogue=dialogue)


def build_module(cfg: DictConfig) -> GRPOModule:
    """Policy, tools, dialogue, rollout and reward, put together."""
    reward = instantiate(cfg.reward)  # first: a mistake in it is told before a large model is loaded
    policy = instantiate(cfg.model)
    rollout = build_rollout(cfg, policy, instantiate(cfg.tool))
    return instantiate(
        cfg.algorithm,
        policy=policy,
        rollout=rollout,
        reward=reward,
        reporter=instantiate(cfg.report, shown=rollout.environment.shown),
        total_steps=cfg.trainer.max_steps,
        folder=cfg.paths.output_dir,
    )


def build_data(cfg: DictConfig) -> LoupeDataModule:
    """The questions of a training run. Raises UserError without a training split, or with less than a step of it."""
    data = instantiate(cfg.data)
    data.train_dataloader()  # raises it, for one rank
    StepSampler(len(data.train), data.batch_size, data.seed, world_size=count_ranks(cfg))
    return data


def build_trainer(cfg: DictConfig, folder: Path, keep_best: bool = True, one_device: bool = False) -> lightning.Trainer:
    """The Lightning trainer with loggers, best and last checkpoint, an orderly stop on Ctrl-C, and own callbacks."""
    settings, checkpoints = cfg.trainer.copy(), folder / RunFile.CHECKPOINTS
    every = require_int("trainer.val_check_interval", settings.val_check_interval, 1)
    settings.val_check_interval = min(every, settings.max_steps)
    last = LastCheckpoint(checkpoints, command_line(typed=True))
    keep_best = keep_best and settings.get("limit_val_batches") != 0
    callbacks = [BestCheckpoint(checkpoints), last] if keep_best else [last]
    if settings.enable_progress_bar:
        callbacks.append(ProgressBar())
    callbacks += own_callbacks(cfg.trainer)
    with open_dict(settings):
        settings.pop("callbacks", None)
    loggers = [JsonlLogger(folder), *chosen_loggers(cfg)]
    options = {"logger": loggers, "callbacks": callbacks, "default_root_dir": str(folder)}
    with _accepted(settings):
        trainer = instantiate(settings, plugins=[WholeCheckpoints()], **options)
    distributed.check_devices(trainer, one_device, in_sweep())
    for callback in callbacks:
        if isinstance(callback, Snapshots):
            callback.check(trainer.max_steps)
    distributed.mute()
    return trainer


def chosen_loggers(cfg: DictConfig) -> list[Logger]:
    """The loggers of ``logger``. Raises UserError for one whose package is not installed."""
    try:
        return instantiate(cfg.logger, run_config=resolved(cfg))
    except InstantiationException as error:
        if not isinstance(missing := error.__cause__, ModuleNotFoundError):
            raise
        key = str(error).rpartition("full_key: ")[2].strip()
        *_, package = ["", *re.findall(r"pip install -U '([\w-]+)", str(missing))]
        install = f"pip install {package or missing.name or key.rpartition('.')[2]}"
        raise UserError(f"{key}: a package is not installed; {install}, or choose another logger") from error


def own_callbacks(settings: DictConfig) -> list[lightning.Callback]:
    """The callbacks of ``trainer.callbacks``, which an earlier run may lack. Raises UserError for anything else."""
    nodes = settings.get("callbacks", OmegaConf.create([]))
    described = OmegaConf.is_list(nodes) and all(OmegaConf.is_dict(node) and "_target_" in node for node in nodes)
    made = [instantiate(node) for node in nodes] if described else []
    if not described or not all(isinstance(callback, lightning.Callback) for callback in made):
        raise UserError(
            f"trainer.callbacks={nodes}: must be a list of callbacks, such as [{{_target_: my_module.Mine}}]"
        )
    return made


@contextmanager
def device(cfg: DictConfig, policy: Policy) -> Iterator[None]:
    """Move the policy to the device of ``trainer.accelerator`` and ``devices``; compute in ``trainer.precision``."""
    fabric = _fabric(cfg)
    distributed.check_devices(fabric, one_device=True)
    policy.to(fabric.device)
    with fabric.autocast():
        yield


def count_ranks(cfg: DictConfig) -> int:
    """The number of processes that the trainer will consist of."""
    return _fabric(cfg).world_size


def _fabric(cfg: DictConfig) -> lightning.Fabric:
    settings = {key: cfg.trainer[key] for key in ("accelerator", "devices", "precision")}
    with _accepted(settings):
        return lightning.Fabric(**settings, num_nodes=cfg.trainer.get("num_nodes", 1))


@contextmanager
def _accepted(settings: Mapping) -> Iterator[None]:
    """Explain in one line that Lightning refuses these settings of the trainer; refuse some precisions ourselves."""
    require_choice("trainer.precision", settings["precision"], PRECISIONS)
    try:
        yield
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        given = (f"trainer.{k}={v}" for k, v in settings.items() if k[0] != "_" and not isinstance(v, Mapping))
        raise UserError(f"{str(error).splitlines()[0]} (given: {', '.join(given)})") from error
