"""The model card, README.md in a run's ``model/``: how to load the model without Loupe, how to talk to it, what came
of the training, and what it was made from.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import yaml
from huggingface_hub import ModelCardData
from omegaconf import DictConfig

from loupe.engine.dialogue import STOP_TEXTS, Dialogue
from loupe.engine.policy import Policy
from loupe.geometry import COORDINATES
from loupe.metrics.intervals import Estimate
from loupe.models.load import HUB_ID
from loupe.paths import portable
from loupe.records import Example
from loupe.runs.cli import LOG
from loupe.runs.config import command_line, resolved
from loupe.tools import Tool
from loupe.tools.zoom import ZoomTool

TAGS = ["loupe", "grpo", "reinforcement-learning", "visual-question-answering"]
TOLD = ("model", "prompt", "tool", "data", "reward", "algorithm", "rollout", "trainer")
"""The parts of the configuration that the card repeats in full."""

CARD = """\
---
{front}
---

# {name}, trained with Loupe

{what} Loupe teaches small vision-language models when and where to zoom (arXiv 2506.14821).

## Loading

{loading}

## Protocol

{protocol}

## Scores

Greedy answers to the held-out questions of `data={data}`, with the weights that had the best validation score; `score`
is {score}, with its 95% interval over questions:

{scores}

## Training

{settings}

<details><summary>Configuration</summary>

{configuration}

</details>

## Terms

{terms}
"""

LOAD_MODEL = """\
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

folder = {folder}
model = AutoModelForImageTextToText.from_pretrained(folder)
tokenizer, image_processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)"""

LOAD_ADAPTER = """\
from peft import PeftModel
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

base, folder = {base}, {folder}
model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base, dtype="{dtype}"), folder)
tokenizer, image_processor = AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)"""

MERGE = """\
model.merge_and_unload().save_pretrained("merged")
tokenizer.save_pretrained("merged")
image_processor.save_pretrained("merged")"""

FRAMES = {
    "shown": "pixels of the picture as shown",
    "original": "pixels of the original picture",
    "relative_1000": "thousandths of width and height",
}


def write_card(cfg: DictConfig, dialogue: Dialogue, example: Example, summary: dict, folder: Path) -> None:
    """Write the card into ``folder / "model"``, where the model lies; ``folder`` also holds provenance.json.

    example: one of the questions. summary: what summary.json holds.
    """
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["command"] = command_line()  # without where the run was written: the card is for others
    text = card(resolved(cfg), dialogue, example, summary, provenance, portable(str(folder / "model")))
    (folder / "model" / "README.md").write_text(text)
    LOG.info("to publish the model: hf upload owner/name %s", shlex.quote(str(folder / "model")))


def card(cfg: dict, dialogue: Dialogue, example: Example, summary: dict, provenance: dict, folder: str) -> str:
    """The card's text.

    cfg: the whole configuration, resolved. provenance: what provenance.json holds, and whether there are uncommitted
    changes. folder: what the card calls the model's folder.
    """
    policy, model = dialogue.policy, cfg["model"]
    base = base_of(policy, model["path"])
    told = {key: cfg[key] for key in TOLD}
    told["model"] = model | {"path": model["path"] and portable(model["path"])}
    scores = [
        [f"{metric}/{part}", figure(value), figure(summary["after"][metric][part])]
        for metric, parts in summary["before"].items()
        for part, value in parts.items()
    ]
    return CARD.format(
        front=front_matter(policy, base),
        name=Path(base).name if base else "A model with random weights",
        what=_what(policy, base),
        loading=loading(policy, base, model, folder),
        protocol=protocol(dialogue, boxes=bool(example.answer_box)),
        score=_score(example),
        data=_data(cfg),
        scores=table(["", "before training", "after"], scores),
        settings=table(["setting", "value"], settings(cfg, provenance).items()),
        configuration=_code(yaml.safe_dump(told, sort_keys=False, allow_unicode=True).rstrip(), "yaml"),
        terms=_terms(base),
    )


def base_of(policy: Policy, path: str | None) -> str | None:
    """What the weights come from: a hub id, a folder as :func:`portable` names it, or None for random weights.

    path: ``model.path`` of the configuration, which may be the adapter that training went on from.
    """
    if policy.has_adapter:
        return policy.model.active_peft_config.base_model_name_or_path or None
    return path and portable(path)


def front_matter(policy: Policy, base: str | None) -> str:
    """What the hub reads. As a base it takes only its own ids; the licence is not ours to name."""
    return ModelCardData(
        base_model=base if base and HUB_ID.fullmatch(base) else None,
        library_name="peft" if policy.has_adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=[*TAGS, "lora"] if policy.has_adapter else TAGS,
    ).to_yaml()


def _what(policy: Policy, base: str | None) -> str:
    kind, source = "An adapter" if policy.has_adapter else "A full model", f"`{base}`" if base else "random weights"
    return f"{kind}, trained {'on' if policy.has_adapter else 'from'} {source}."


def loading(policy: Policy, base: str | None, model: dict, folder: str) -> str:
    """The lines that load the model, and what to do with them elsewhere. model: the settings of that group."""
    here = (
        f"`{folder}` is where the model was written; once moved or published, give its new path or its hub id. "
        "Paths that begin with a dot start from Loupe's own folder."
    )
    if not policy.has_adapter:
        return f"{_code(LOAD_MODEL.format(folder=_quoted(folder)))}\n\n{here}"
    if base is None:
        return (
            "The base of this adapter has random weights that were built for the run and not saved. Without them the "
            "adapter means nothing; only Loupe can build them again, from the same model settings."
        )
    if not HUB_ID.fullmatch(base):
        here += f" The base, `{base}`, is a folder too and no part of this one; the adapter is of no use without it."
    if model["four_bit"]:
        here += " In training the base was in 4 bits (NF4)."
    code = LOAD_ADAPTER.format(base=_quoted(base), folder=_quoted(folder), dtype=model["dtype"])
    return f"{_code(code)}\n\n{here}\n\nTo make a full model of it:\n\n{_code(MERGE)}"


def _score(example: Example) -> str:
    """What ``terms.hard`` measures for questions of this kind."""
    if example.answer_box:
        return "the share of boxes whose IoU with the right one is at least a half"
    return "the share of right options" if example.options else "VQA accuracy"


def protocol(dialogue: Dialogue, boxes: bool) -> str:
    """What one must know to talk to the model without Loupe. boxes: whether answers are boxes."""
    tool = dialogue.tool
    frame = COORDINATES[tool.coordinates] if tool.max_calls or boxes else ""
    user = dialogue.user.replace("{frame}", frame.format("{original_width}", "{original_height}"))
    shown = (
        f"The picture is shown with its long side at {dialogue.resolution} pixels (never enlarged), both sides rounded "
        f"to multiples of {dialogue.policy.factor}: resize it, bicubic, and call the image processor with "
        "`do_resize=False`."
    )
    parts = [shown, "System prompt:", _code(dialogue.system, "text")]
    parts += ["Question (`<image>` is the picture, width and height are as shown):", _code(user, "text")]
    if dialogue.prefill:
        parts += ["The model's first turn is begun for it, with these words:", _code(dialogue.prefill, "text")]
    if boxes:
        parts += [f"A box in `<answer>` counts in {FRAMES[tool.coordinates]}."]
    parts += [f"A turn ends at {' or '.join(f'`{text}`' for text in STOP_TEXTS)}. {_tool(tool)}"]
    parts += [_code(dialogue.observation, "text")] if tool.max_calls else []
    return "\n\n".join(parts)


def _tool(tool: Tool) -> str:
    """How calls are answered."""
    if not tool.max_calls:
        return "There is no tool."
    limit = (
        f"The number of calls is limited to {tool.max_calls}; one that fails counts, and is answered by text. "
        "The result of a call is the user's next turn:"
    )
    if not isinstance(tool, ZoomTool):
        return f"The tool is `{tool.name}`. {limit}"
    source = "the original picture" if tool.pixels == "original" else "the picture as shown, brought to its old size"
    size = f"of {tool.output_size} pixels" if tool.output_size else "as long as that of the picture as shown"
    return (
        f"What stands in `<tool>` is YAML, and its keypoint [x, y] counts in {FRAMES[tool.coordinates]}. A square of "
        f"{tool.crop}x{tool.crop} pixels around it, moved inwards at the borders, is cut out of {source} and resized "
        f"to a long side {size}. {limit}"
    )


def settings(cfg: dict, provenance: dict) -> dict[str, str]:
    """What one looks for first; the rest is in the configuration below it."""
    reward = cfg["reward"]
    weights = ", ".join(f"{term} {weight}" for term, weight in reward.get("weights", {}).items())
    return {
        "data": _data(cfg),
        "reward": weights or reward["_target_"],
        "crop": str(cfg["crop"]),
        "resolution": str(cfg["resolution"]),
        "seed": str(cfg["seed"]),
        "steps": str(cfg["trainer"]["max_steps"]),
        "command": f"`{provenance['command']}`",
        "commit": figure(provenance["commit"]) + (", with uncommitted changes" if provenance["uncommitted"] else ""),
        "versions": ", ".join(f"{name} {provenance['versions'][name]}" for name in ("torch", "transformers", "peft")),
    }


def _data(cfg: dict) -> str:
    """The data set's name: that of what makes it."""
    return cfg["data"]["_target_"].rpartition(".")[2].removesuffix("_datamodule")


def _terms(base: str | None) -> str:
    if base is None:
        return "The weights come from no other model."
    return f"The terms of the base, `{base}`, hold for this model too."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *[[cell.replace("|", "\\|") for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: float | dict | str | None) -> str:
    """A figure as it is told: fractions to three places, a score with its interval, None as "-"."""
    if isinstance(value, dict):
        return str(Estimate(**value))
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    """As a string of Python."""
    return json.dumps(text, ensure_ascii=False)


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"
