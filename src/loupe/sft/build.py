"""From a configuration to the parts of a supervised run: traces, questions, lessons, module."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from loupe.data.datamodule import LoupeDataModule, StepSampler
from loupe.errors import UserError, require_choice, require_int
from loupe.paths import CONF, of_setting
from loupe.runs.build import build_rollout, count_ranks
from loupe.runs.config import instantiate, resolved
from loupe.runs.resume import changed_settings, saved_settings
from loupe.sft import recorded
from loupe.sft.data import Lessons, LessonsModule
from loupe.sft.module import SupervisedModule
from loupe.sft.references import REFERENCES, read_references, require_answer, require_template
from loupe.sft.traces import Trace, by_question, hold_out
from loupe.sft.writer import Writer

LOG = logging.getLogger(__name__)
SEEN = ("resolution", "coordinates", "tool", "prompt")
"""The settings that decide what the policy reads."""


def build(cfg: DictConfig) -> tuple[SupervisedModule, LessonsModule]:
    """The module and its data.

    Completes ``cfg``: by the data settings of the job whose answers are learned from, and by the steps of an epoch.
    """
    tools, template = instantiate(cfg.tool), require_template(cfg.reference_turn)
    if cfg.traces == REFERENCES:
        require_answer(template, tools.form.tag, cfg.prompt.prefill)
    traces, questions = read(cfg, tools.form.tag)
    learned, heldout = map(by_question, hold_out(traces, cfg.heldout))
    plan_steps(cfg, len(learned), questions.batch_size)
    counts = sum(map(len, learned)), len(learned), cfg.trainer.max_steps, sum(map(len, heldout))
    LOG.info("learning from %d traces about %d questions in %s steps; %d more are held out", *counts)
    budget = require_int("sft.microbatch_tokens", cfg.sft.microbatch_tokens, 1)
    policy = instantiate(cfg.model)
    rollout = build_rollout(cfg, policy, tools)
    module = instantiate(
        cfg.sft.module,
        policy=policy,
        rollout=rollout,
        reward=instantiate(cfg.reward),
        reporter=instantiate(cfg.report),
        total_steps=cfg.trainer.max_steps,
    )
    writer = Writer(rollout.environment, template)
    return module, LessonsModule(
        Lessons(learned, writer, budget), Lessons(heldout, writer, budget), questions, cfg.seed
    )


def read(cfg: DictConfig, tag: str) -> tuple[list[Trace], LoupeDataModule]:
    """The traces, and the data set on whose questions the policy is judged. tag: that of calls."""
    choice = recorded.Choice(
        **{key: resolved(cfg)[key] for key in ("min_score", "per_question", "splits", "conditions")}
    )
    keep = require_choice("keep_system", cfg.keep_system, (True, False))
    if cfg.traces == REFERENCES:
        _require_unset(cfg, f"traces={REFERENCES}", "min_score", "per_question", "conditions", "images", "keep_system")
        data = instantiate(cfg.data)
        return read_references(data, choice.splits), data
    if not cfg.traces or not (path := of_setting(cfg.traces)).exists():
        problem = f"traces={cfg.traces}: not there" if cfg.traces else "traces is empty"
        raise UserError(f"{problem}; give a run's folder, a file with conversations, or {REFERENCES}")
    if files := recorded.answer_files(path):
        _require_unset(cfg, "answers of a job", "images", "keep_system")
        cfg.data = data_settings(cfg, files[0].parent)
        data = instantiate(cfg.data)
        return recorded.choose((row for file in files for row in recorded.read_answers(file)), data, choice), data
    if path.is_dir():
        raise UserError(f"traces={path}: holds no answers of a run, an evaluation or a mining; give another, or a file")
    _require_unset(cfg, "a file with conversations", "min_score", "per_question", "splits", "conditions")
    from loupe.sft.forms import read_traces  # late, because it needs what loads tables

    return read_traces(path, cfg.images, keep, tag), instantiate(cfg.data)


def _require_unset(cfg: DictConfig, traces: str, *keys: str) -> None:
    """Raise UserError if one of these settings differs from conf/traces.yaml; they mean nothing for such traces."""
    usual = OmegaConf.load(CONF / "traces.yaml")
    if changed := [key for key in keys if cfg[key] != usual[key]]:
        raise UserError(f"{changed[0]}={cfg[changed[0]]}: means nothing for {traces}; leave it out")


def data_settings(cfg: DictConfig, job: Path) -> DictConfig:
    """The data settings of the job in a folder, changed by what the command line says about ``data``."""
    saved = saved_settings(job)
    now, then = ({key: settings.get(key) for key in SEEN} for settings in (resolved(cfg), resolved(saved)))
    if changed := changed_settings(then, now):
        differing = ", ".join(f"{key}={value}" for key, value in changed.items())
        LOG.warning("%s was made with other settings than %s", job, differing)
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    named = [override.lstrip("+~").partition("=")[0] for override in overrides]
    if cfg.resume or "data" in named:  # a resumed run has them in its own settings
        return cfg.data
    for key in named:
        if key.startswith("data."):
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    return saved.data


def plan_steps(cfg: DictConfig, n: int, batch_size: int) -> None:
    """Fill in the steps that ``epochs`` passes over ``n`` questions take, unless that is null, and those between two
    validations, unless they are given: one pass.
    """
    epoch, given = (
        StepSampler(n, batch_size, cfg.seed, world_size=count_ranks(cfg)).steps_per_epoch,
        cfg.trainer.max_steps,
    )
    if cfg.epochs is None:
        require_int("trainer.max_steps", given, 1)
    elif given is None or cfg.resume:  # a resumed run has them in its own settings
        cfg.trainer.max_steps = require_int("epochs", cfg.epochs, 1) * epoch
    else:
        raise UserError(f"trainer.max_steps={given}: epochs={cfg.epochs} decides that; set epochs=null")
    if cfg.trainer.val_check_interval is None:
        cfg.trainer.val_check_interval = epoch
