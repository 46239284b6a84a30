"""From a configuration to the answers that the entries evaluate.py and mine.py count."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Dataset
from tqdm import tqdm

from loupe.errors import Interrupted, UserError
from loupe.evaluation import settings
from loupe.evaluation.conditions import Condition, conditions
from loupe.evaluation.journal import Journal
from loupe.records import Example
from loupe.runs import cli
from loupe.runs import run as runs
from loupe.runs.provenance import command_line
from loupe.tools.zoom import NoTool


@dataclass(frozen=True)
class Answers:
    """rows: ``answers.answer_row`` of every answer. skipped: why questions could not be asked. settings: as stated."""

    rows: list[dict]
    skipped: list[str]
    settings: dict


def answers(cfg: DictConfig, folder: Path, examples: Dataset[Example], shard: tuple[int, int] = (0, 1)) -> Answers:
    """Ask ``examples``. Answers given earlier under the same settings in the same folder are taken over.

    shard: number and count of the parts of the questions, of which ``examples`` are one.
    """
    ways = build_conditions(cfg, examples)
    stated = settings.settings(cfg, ways[0].rollout.policy.factor) | {"shard": shard}
    stated = settings.claim(folder, stated)
    runs.write_provenance(cfg, folder)
    journal = Journal(folder)
    journal.read()
    try:
        ask(cfg, ways, journal)
    except KeyboardInterrupt as stop:
        way_on = f"{command_line()} {shlex.quote(f'paths.output_dir={cfg.paths.output_dir}')}"
        raise Interrupted(f"stopped; to go on: {way_on}") from stop
    for line in journal.skipped:
        cli.LOG.warning("skipped: %s", line)
    rows = journal.rows([way.name for way in ways])
    if not rows:
        raise UserError("none of the questions could be read; see the skipped rows above")
    return Answers(rows, journal.skipped, stated)


def build_conditions(cfg: DictConfig, examples: Dataset[Example]) -> list[Condition]:
    """The conditions that ``evaluate.conditions`` names, for the policy of ``model``."""
    policy = runs.make(cfg.model, trainable=False)

    def build(way: dict):
        prompted = OmegaConf.merge(cfg, {"prompt": way["prompt"]})
        tool = runs.make(cfg.tool)
        return runs.build_rollout(prompted, policy, tool if way["tool"] else NoTool(tool.coordinates))

    known = OmegaConf.to_container(cfg.evaluate.known, resolve=True)
    return conditions(cfg.evaluate.conditions, known, examples, build)


def ask(cfg: DictConfig, ways: Sequence[Condition], journal: Journal) -> None:
    """Ask what the journal does not hold yet."""
    reward = runs.make(cfg.reward)
    missing = {way.name: journal.missing(way.name, len(way.examples)) for way in ways}
    bar = tqdm(total=sum(map(len, missing.values())), unit="question", disable=not cfg.trainer.enable_progress_bar)
    with runs.device(cfg, ways[0].rollout.policy), bar:
        for way in ways:
            bar.set_description(way.name)
            for outcomes in way.answer(missing[way.name], cfg.data.eval_batch_size, reward):
                journal.add(outcomes)
                bar.update(len(outcomes))
