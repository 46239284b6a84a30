"""The model card, README.md in a run's ``model/``: how to load and prompt the model without Loupe, its scores, and how
it was trained. The text is in card.md.jinja; this module computes what goes into it.
"""

import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml
from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined
from omegaconf import DictConfig

from loupe import hub
from loupe.engine.dialogue import Dialogue
from loupe.engine.policy import Policy
from loupe.geometry import COORDINATES
from loupe.paths import portable
from loupe.records import Example
from loupe.runs.config import resolved
from loupe.runs.files import RunFile, read_json
from loupe.runs.resume import whole_command
from loupe.runs.text import comparison, format_value

LOG = logging.getLogger(__name__)
TAGS = ["loupe", "visual-question-answering"]
METHODS = {"sft": ["sft"], "algorithm": ["grpo", "reinforcement-learning"]}  # tags, by the group of settings
PRINTED_GROUPS = ("model", "prompt", "tool", "data", "reward", "rollout", "trainer")  # in full
SCORED = {  # by Example.metric
    "vqa": "VQA accuracy",
    "exact": "the share of answers that equal a reference",
    "contains": "the share of answers that contain a reference",
    "number": "the share of answers whose last number is that of a reference",
}
ENVIRONMENT = Environment(  # nothing is escaped by default: the card is Markdown, not HTML
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
)
ENVIRONMENT.filters |= {
    "python": lambda text: json.dumps(text, ensure_ascii=False),  # as a string literal
    "cell": lambda text: str(text).replace("|", "\\|"),
    "format_value": format_value,
}
TEMPLATE = ENVIRONMENT.from_string(Path(__file__).with_name("card.md.jinja").read_text())


def write_card(cfg: DictConfig, dialogue: Dialogue, example: Example, summary: dict, folder: Path) -> None:
    """Write the card into ``folder / "model"``, beside the weights; ``folder`` also contains provenance.json.

    example: any question of the data set, which shows what kind of answer is wanted. summary: as in summary.json.
    """
    settings, policy, tools, out = resolved(cfg), dialogue.policy, dialogue.tools, folder / "model"
    path = settings["model"]["path"]
    base = settings["model"]["path"] = path and portable(path)  # None for random weights
    if policy.has_adapter:  # the path may be that of an earlier adapter
        base = policy.model.active_peft_config.base_model_name_or_path or None
    frame = COORDINATES[tools.coordinates] if tools.max_calls or example.answer_box else ""
    method = next(group for group in METHODS if group in settings)
    configuration = {group: settings[group] for group in (*PRINTED_GROUPS, method)}
    card = TEMPLATE.render(
        front_matter=front_matter(policy, base, METHODS[method]),
        adapter=policy.has_adapter,
        base=base,
        base_name=Path(base).name if base else None,
        base_on_hub=hub.is_id(base),
        folder=portable(str(out)),
        dialogue=dialogue,
        question=dialogue.user.replace("{frame}", frame.format("{original_width}", "{original_height}")),
        tools=tools,
        example=example,
        score_meaning=score_meaning(example),
        scores=comparison(summary["before"], summary["after"]),
        cfg=settings,
        data=settings["data"]["_target_"].rpartition(".")[2].removesuffix("_datamodule"),
        provenance=read_json(folder / RunFile.PROVENANCE),
        command=whole_command(folder),  # without the output folder, which means nothing to other people
        configuration=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True).rstrip(),
    )
    (out / "README.md").write_text(card)
    LOG.info("to publish the model: hf upload owner/name %s", shlex.quote(str(out)))


def score_meaning(example: Example) -> str:
    """What the score of such a question is, to complete "score is"."""
    if example.answer_box:
        return "the share of boxes whose IoU with the correct box is at least 0.5"
    return "the share of correct options" if example.options else SCORED[example.metric]


def front_matter(policy: Policy, base: str | None, method: Sequence[str]) -> str:
    """The metadata that the hub reads, as YAML. It accepts only hub ids as a base; the license is not ours to state.

    method: tags of the method of training.
    """
    return ModelCardData(
        base_model=base if hub.is_id(base) else None,
        library_name="peft" if policy.has_adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=[*TAGS, *method, *(["lora"] if policy.has_adapter else [])],
    ).to_yaml()
