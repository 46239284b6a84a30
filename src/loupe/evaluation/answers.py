"""From a configuration to the answers that evaluate.py and mine.py count."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from loupe.data.datamodule import Questions
from loupe.engine.rollout import GroupRollout
from loupe.errors import Interrupted, UserError
from loupe.evaluation.conditions import Condition, conditions
from loupe.evaluation.journal import Journal
from loupe.evaluation.settings import answer_settings
from loupe.logs.pictures import PictureStore
from loupe.logs.rows import PICTURES
from loupe.metrics.rows import Rows
from loupe.runs.build import build_rollout, device
from loupe.runs.config import command_line, instantiate, override, resolved
from loupe.runs.folder import open_for_answers
from loupe.runs.provenance import write_provenance

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """rows: of every answer. skipped: why questions could not be asked. settings: what the answers depend on."""

    rows: Rows
    skipped: list[str]
    settings: dict


def collect_answers(cfg: DictConfig, folder: Path, examples: Questions, shard: tuple[int, int] = (0, 1)) -> Answers:
    """Ask ``examples``. Answers to them that the folder already holds, given under the same settings, are kept.

    shard: index and count of the shards of the questions, of which ``examples`` is one.
    """
    reward = instantiate(cfg.reward)  # first: a mistake in it is told before a large model is loaded
    asked = build_conditions(cfg, examples)
    policy = asked[0].rollout.policy
    settings = open_for_answers(folder, answer_settings(cfg, policy.factor) | {"shard": shard})
    journal = Journal(folder)
    journal.read(examples)
    write_provenance(cfg, folder, goes_on=bool(journal.outcomes))
    pictures = PictureStore(folder / PICTURES, cfg.report.megabytes)
    missing = {condition.name: journal.missing(condition.name, len(examples)) for condition in asked}
    bar = tqdm(total=sum(map(len, missing.values())), unit="question", disable=not cfg.trainer.enable_progress_bar)
    try:
        with device(cfg, policy), bar:
            for number, condition in enumerate(asked, start=1):
                bar.set_description(condition.name)
                keep = partial(pictures.with_pictures, share=number / len(asked))
                for outcomes in condition.answer(missing[condition.name], cfg.data.eval_batch_size, reward, keep):
                    journal.add(outcomes)
                    bar.update(len(outcomes))
    except KeyboardInterrupt as stop:
        command = f"{command_line(typed=True)} {override('paths.output_dir', cfg.paths.output_dir)}"
        raise Interrupted(f"stopped; to resume: {command}") from stop
    for line in journal.skipped:
        LOG.warning("skipped: %s", line)
    rows = journal.rows([condition.name for condition in asked])
    if not rows:
        raise UserError("none of the questions could be read; see the skipped rows above")
    return Answers(rows, journal.skipped, settings)


def build_conditions(cfg: DictConfig, examples: Questions) -> list[Condition]:
    """The conditions that ``evaluate.conditions`` names, for the policy of ``model``."""
    policy, tools = instantiate(cfg.model, trainable=False), instantiate(cfg.tool)
    toolboxes = {True: tools, False: tools.without(), "described": tools.described()}

    def build(settings: dict) -> GroupRollout:
        prompted = OmegaConf.merge(cfg, {"prompt": settings["prompt"]})
        return build_rollout(prompted, policy, toolboxes[settings["tool"]])

    return conditions(cfg.evaluate.conditions, resolved(cfg.evaluate.known), examples, build)
