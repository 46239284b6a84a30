"""The model card, README.md in a run's ``model/``: how to load and prompt the model without Loupe, its scores, and how
it was trained. The text is in card.md.jinja; this module computes what goes into it.
"""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path

import yaml
from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined
from omegaconf import DictConfig

from loupe.engine.dialogue import STOP_TEXTS, Dialogue
from loupe.engine.policy import Policy
from loupe.geometry import COORDINATES
from loupe.models.load import HUB_ID
from loupe.paths import portable
from loupe.records import Example
from loupe.runs.config import command_line, resolved
from loupe.runs.text import comparison, format_value
from loupe.tools import Tool
from loupe.tools.zoom import ZoomTool

LOG = logging.getLogger(__name__)
TAGS = ["loupe", "grpo", "reinforcement-learning", "visual-question-answering"]
PRINTED_GROUPS = ("model", "prompt", "tool", "data", "reward", "algorithm", "rollout", "trainer")
"""The groups of the configuration that the card prints in full."""


def _environment() -> Environment:
    environment = Environment(  # nothing is escaped by default: the card is Markdown, not HTML
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters["python"] = lambda text: json.dumps(text, ensure_ascii=False)  # as a string literal
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    environment.filters["format_value"] = format_value
    return environment


TEMPLATE = _environment().from_string(Path(__file__).with_name("card.md.jinja").read_text())


def write_card(cfg: DictConfig, dialogue: Dialogue, example: Example, summary: dict, folder: Path) -> None:
    """Write the card into ``folder / "model"``, beside the weights; ``folder`` also contains provenance.json.

    example: any question of the data set, which shows what kind of answer is wanted. summary: as in summary.json.
    """
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["command"] = command_line()  # without the output folder, which means nothing to other people
    text = card(resolved(cfg), dialogue, example, summary, provenance, portable(str(folder / "model")))
    (folder / "model" / "README.md").write_text(text)
    LOG.info("to publish the model: hf upload owner/name %s", shlex.quote(str(folder / "model")))


def card(cfg: dict, dialogue: Dialogue, example: Example, summary: dict, provenance: dict, folder: str) -> str:
    """The card's text.

    cfg: the whole configuration, resolved. provenance: as in provenance.json. folder: the path of the model's folder
    that the card shows.
    """
    policy, model = dialogue.policy, cfg["model"]
    base = base_of(policy, model["path"])
    return TEMPLATE.render(
        front_matter=front_matter(policy, base),
        adapter=policy.has_adapter,
        base=base,
        base_name=Path(base).name if base else None,
        base_on_hub=_on_hub(base),
        folder=folder,
        dialogue=dialogue,
        question=_question_template(dialogue, example),
        tool=dialogue.tool,
        is_zoom=isinstance(dialogue.tool, ZoomTool),
        example=example,
        stop_texts=STOP_TEXTS,
        scores=comparison(summary["before"], summary["after"]),
        cfg=cfg,
        data=_data_name(cfg),
        provenance=provenance,
        configuration=_configuration(cfg),
    )


def base_of(policy: Policy, path: str | None) -> str | None:
    """The model that the weights derive from: a hub id, a folder as :func:`portable` names it, or None for random
    weights.

    path: ``model.path`` of the configuration; it may name the adapter that training started from.
    """
    if policy.has_adapter:
        return policy.model.active_peft_config.base_model_name_or_path or None
    return path and portable(path)


def front_matter(policy: Policy, base: str | None) -> str:
    """The metadata that the hub reads, as YAML. It accepts only hub ids as a base; the license is not ours to state."""
    return ModelCardData(
        base_model=base if _on_hub(base) else None,
        library_name="peft" if policy.has_adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=[*TAGS, "lora"] if policy.has_adapter else TAGS,
    ).to_yaml()


def _on_hub(base: str | None) -> bool:
    return bool(base and HUB_ID.fullmatch(base))


def _question_template(dialogue: Dialogue, example: Example) -> str:
    """The user turn with the sentence about coordinates filled in, where the prompt has one."""
    tool: Tool = dialogue.tool
    frame = COORDINATES[tool.coordinates] if tool.max_calls or example.answer_box else ""
    return dialogue.user.replace("{frame}", frame.format("{original_width}", "{original_height}"))


def _data_name(cfg: dict) -> str:
    """The data set's name, taken from the function that builds it."""
    return cfg["data"]["_target_"].rpartition(".")[2].removesuffix("_datamodule")


def _configuration(cfg: dict) -> str:
    """The printed groups as YAML, with a path to the model that holds on other machines."""
    printed = {group: cfg[group] for group in PRINTED_GROUPS}
    path = cfg["model"]["path"]
    printed["model"] = cfg["model"] | {"path": path and portable(path)}
    return yaml.safe_dump(printed, sort_keys=False, allow_unicode=True).rstrip()
