"""The card's own lines load what a run leaves, and what they load is the policy that was trained."""

import re

import pytest
import torch
from conftest import compose_config, examples
from huggingface_hub import ModelCard

from loupe.engine.dialogue import STOP_TEXTS
from loupe.models.load import load_policy, save_policy
from loupe.paths import PROJECT
from loupe.records import Example
from loupe.runs import card
from loupe.runs import run as runs
from loupe.runs.provenance import write_provenance

BASE = "./src/loupe/models/miniature"
LORA = "model.lora={r: 4, alpha: 8}"
SUMMARY = {
    "before": {"score": 0.25, "zoom_hit_rate": None, "n": 6},
    "after": {"score": {"mean": 0.875, "low": 0.5, "high": 1.0, "n": 6}, "zoom_hit_rate": None, "n": 6},
}


QUESTION = Example("q", b"", "?", ("7",))


def saved(folder, *overrides, question=QUESTION):
    """What a run leaves, without the run: weights that are not those of the base, and the card.

    Returns the rollout of that policy and the card.
    """
    cfg = compose_config(*overrides, f"paths.output_dir={folder}")
    policy = runs.make(cfg.model)
    torch.manual_seed(0)
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad and "lora_A" not in name:
            parameter.data += 0.02 * torch.randn_like(parameter)
    save_policy(policy, folder / "model")
    write_provenance(cfg, folder)
    rollout = runs.build_rollout(cfg, policy, runs.make(cfg.tool))
    card.write_card(cfg, rollout.dialogue, question, SUMMARY, folder)
    return rollout, (folder / "model" / "README.md").read_text()


def load(text, monkeypatch, block=0):
    """What the names in a block of code of the card stand for, once it has run in the project's folder."""
    monkeypatch.chdir(PROJECT)
    names = {}
    exec(code(text)[block], names)
    return names


def code(text, language="python"):
    return re.findall(rf"```{language}\n(.*?)\n```", text, re.DOTALL)


def inputs(prompt, image_token):
    """A prompt as transformers takes it."""
    ids = torch.tensor([prompt.ids])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == image_token).long(),
        "pixel_values": torch.cat([image.pixels for image in prompt.images]),
        "image_grid_thw": torch.tensor([image.grid for image in prompt.images]),
    }


@pytest.mark.parametrize(
    "overrides",
    [[], [LORA], [LORA, "model.train_vision=false", "model.dtype=bfloat16"]],
    ids=["full", "lora", "lora on a frozen tower, base in bfloat16"],
)
@torch.no_grad()
def test_the_lines_of_the_card_load_what_was_trained(tmp_path, monkeypatch, overrides):
    rollout, text = saved(tmp_path, *overrides)
    policy, names = rollout.policy, load(text, monkeypatch)
    assert not re.search(r"^(from|import) loupe", text, re.MULTILINE)
    prompt = rollout.dialogue.prompt(examples(1)[0])
    given = inputs(prompt, policy.image_token)
    assert torch.equal(names["model"](**given).logits, policy.model(**given).logits)
    shown = rollout.dialogue.overview(prompt.picture)
    pixels = names["image_processor"](images=[shown], do_resize=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, prompt.images[0].pixels, rtol=0, atol=1e-6)  # torchvision's rounding differs
    assert names["tokenizer"].chat_template == policy.tokenizer.chat_template
    assert names["tokenizer"].decode(prompt.ids) == policy.tokenizer.decode(prompt.ids)
    assert names["model"].generation_config.eos_token_id == policy.end_of_turn


@torch.no_grad()
def test_the_merged_model_is_a_full_one(tmp_path, monkeypatch):
    rollout, text = saved(tmp_path, LORA)
    names = load(text, monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(code(text)[1], names)
    merged = load_policy("merged")
    given = inputs(rollout.dialogue.prompt(examples(1)[0]), rollout.policy.image_token)
    logits = rollout.policy.model(**given).logits
    assert not merged.has_adapter
    torch.testing.assert_close(merged.model(**given).logits, logits, rtol=1e-4, atol=1e-4)
    with rollout.policy.adapter_off():
        assert (rollout.policy.model(**given).logits - logits).abs().max() > 0.1


def test_transformers_generates_what_our_rollout_writes(tmp_path, monkeypatch):
    """The first turn, from the same prompt, up to where the card says that a turn ends."""
    cfg = compose_config()
    policy = runs.make(cfg.model)
    save_policy(policy, tmp_path)
    rollout = runs.build_rollout(cfg, policy, runs.make(cfg.tool))
    names = {}
    exec(card.LOAD_MODEL.format(folder=repr(str(tmp_path))), names)
    groups, _ = rollout(examples(3), 1, step=0, greedy=True)
    for group in groups:
        prompt = rollout.dialogue.prompt(group.example)
        written = names["model"].generate(
            **inputs(prompt, policy.image_token),
            do_sample=False,
            max_new_tokens=rollout.max_new_tokens,
            stop_strings=list(STOP_TEXTS),
            tokenizer=names["tokenizer"],
        )
        turn = names["tokenizer"].decode(written[0, len(prompt.ids) :])
        assert turn == group.trajectories[0].turns[0]
        assert turn.endswith(STOP_TEXTS)


@pytest.mark.parametrize(
    "overrides", [[], [LORA], ["model=tiny_random", LORA]], ids=["full", "lora", "lora on a built"]
)
def test_what_the_hub_reads(tmp_path, overrides):
    _, text = saved(tmp_path, *overrides)
    front = ModelCard(text).data
    assert front.library_name == ("peft" if overrides else "transformers")
    assert front.pipeline_tag == "image-text-to-text"
    assert "grpo" in front.tags
    assert front.base_model is None and front.license is None


def test_a_base_of_the_hub_is_named(shared_policy):
    assert "base_model: owner/name" in card.front_matter(shared_policy, "owner/name")


def test_an_adapter_on_random_weights_is_told_plainly(tmp_path):
    _, text = saved(tmp_path, "model=tiny_random", LORA)
    assert "random weights that were built for the run and not saved" in text
    assert not code(text)


def test_the_card_tells_protocol_scores_and_settings(tmp_path):
    rollout, text = saved(tmp_path, LORA, "crop=300", "resolution=168", "seed=5", "coordinates=original")
    assert rollout.dialogue.system in text and "{tool}" not in code(text, "text")[0]
    assert "300x300 pixels" in text and "at 168 pixels" in text and "multiples of 28" in text
    assert "counts in pixels of the original picture" in text
    assert "which is {original_width}x{original_height}. {question}" in code(text, "text")[1]
    assert "| score | 0.250 | 0.875 [0.500, 1.000] |" in text
    assert "| zoom_hit_rate | - | - |" in text
    assert "| n | 6 | 6 |" in text
    assert "| seed | 5 |" in text and "| command | `python src/train.py" in text
    assert f"The terms of the base, `{BASE}`, hold" in text
    told = text.replace(str(tmp_path / "model"), "")
    assert str(PROJECT) not in told and str(tmp_path) not in told


def test_other_tools_and_settings_are_told_too(tmp_path):
    _, text = saved(tmp_path, "tool=none", "reward.weights.tool={start: 0.2, end: 0, steps: 100}")
    assert "There is no tool." in text and "'start': 0.2" in text
    (tmp_path / "other").mkdir()
    _, text = saved(tmp_path / "other", "tool.output_size=224", "tool.pixels=shown", "tool.max_calls=2")
    assert (
        "a long side of 224 pixels. The number of calls is limited to 2" in text
        and "the picture as shown, brought" in text
    )


def test_the_card_of_a_model_that_answers_with_boxes(tmp_path):
    asked = Example("q", b"", "Where?", (), answer_box=(0.0, 0.0, 1.0, 1.0))
    given = ["data=boxes", "reward=iou", "tool=none", "experiment=no_thinking", "coordinates=relative_1000"]
    _, text = saved(tmp_path, *given, "model.path=null", question=asked)
    assert "held-out questions of `data=boxes`" in text
    assert "whose IoU with the right one is at least a half" in text and "VQA accuracy" not in text
    assert "begun for it, with these words:\n\n```text\n<answer\n```" in text
    assert "Coordinates count in thousandths of width and height." in text
    assert "A box in `<answer>` counts in thousandths of width and height." in text
