"""The code in the card loads the model that a run saves, and that model is the policy that was trained."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import compose_config, examples
from helpers.compare import assert_close
from huggingface_hub import ModelCard

from loupe.engine.adapter import adapter_off
from loupe.models.load import load_policy, save_policy
from loupe.paths import PROJECT
from loupe.records import Example
from loupe.rewards import terms
from loupe.runs import card
from loupe.runs.build import build_rollout
from loupe.runs.config import instantiate
from loupe.runs.provenance import write_provenance

BASE = "./src/loupe/models/miniature"
LORA = "model.lora={r: 4, alpha: 8}"
SUMMARY = {
    "before": {"score": {"all": 0.25, "small": 0.5}, "zoom_hit_rate": {"all": None}, "n": {"all": 6}},
    "after": {
        "score": {"all": {"mean": 0.875, "low": 0.5, "high": 1.0, "n": 6}, "small": 1.0},
        "zoom_hit_rate": {"all": None},
        "n": {"all": 6},
    },
}

QUESTION = Example("q", b"", "?", ("7",))


def saved(folder, *overrides, question=QUESTION, trained=True):
    """Save a model and its card as a run does, without the run. trained: give it weights that the base does not have.

    Returns the rollout of that policy and the card's text.
    """
    cfg = compose_config(*overrides, f"paths.output_dir={folder}")
    policy = instantiate(cfg.model)
    torch.manual_seed(0)
    for name, parameter in policy.named_parameters():
        if trained and parameter.requires_grad and "lora_A" not in name:
            parameter.data += 0.02 * torch.randn_like(parameter)
    save_policy(policy, folder / "model")
    write_provenance(cfg, folder)
    rollout = build_rollout(cfg, policy, instantiate(cfg.tool))
    card.write_card(cfg, rollout.dialogue, question, SUMMARY, folder)
    return rollout, (folder / "model" / "README.md").read_text()


def load(text, monkeypatch, block=0):
    """Run one of the card's Python blocks in the project's folder; returns the names that it defines."""
    monkeypatch.chdir(PROJECT)
    names = {}
    exec(code(text)[block], names)
    return names


def code(text, language="python"):
    return re.findall(rf"```{language}\n(.*?)\n```", text, re.DOTALL)


def inputs(prompt, image_token):
    """A prompt in the form that transformers takes."""
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
def test_the_code_in_the_card_loads_the_trained_model(tmp_path, monkeypatch, overrides):
    rollout, text = saved(tmp_path, *overrides)
    policy, names = rollout.policy, load(text, monkeypatch)
    assert not re.search(r"^(from|import) loupe", text, re.MULTILINE)
    prompt = rollout.dialogue.prompt(examples(1)[0])
    given = inputs(prompt, policy.image_token)
    assert_close(names["model"](**given).logits, policy.model(**given).logits, atol=1e-4, name="logits")
    shown = rollout.dialogue.overview(prompt.picture)
    pixels = names["image_processor"](images=[shown], do_resize=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, prompt.images[0].pixels, rtol=0, atol=1e-6)  # torchvision's rounding differs
    assert names["tokenizer"].chat_template == policy.tokenizer.chat_template
    assert names["tokenizer"].decode(prompt.ids) == policy.tokenizer.decode(prompt.ids)
    assert names["model"].generation_config.eos_token_id == policy.end_of_turn


@torch.no_grad()
def test_the_merged_model_is_a_full_model(tmp_path, monkeypatch):
    rollout, text = saved(tmp_path, LORA)
    names = load(text, monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(code(text)[1], names)
    merged = load_policy("merged")
    given = inputs(rollout.dialogue.prompt(examples(1)[0]), rollout.policy.image_token)
    logits = rollout.policy.model(**given).logits
    assert not merged.has_adapter
    torch.testing.assert_close(merged.model(**given).logits, logits, rtol=1e-4, atol=1e-4)
    with adapter_off(rollout.policy):
        assert (rollout.policy.model(**given).logits - logits).abs().max() > 0.1


def test_transformers_generates_what_our_rollout_generates(tmp_path, monkeypatch):
    """The first turn, from the same prompt, up to the texts that end a turn according to the card."""
    rollout, text = saved(tmp_path, trained=False)
    names, policy = load(text, monkeypatch), rollout.policy
    assert all(f"`{stop}`" in text for stop in rollout.dialogue.tools.stop_texts)
    groups, _ = rollout(examples(3), 1, step=0, greedy=True)
    for group in groups:
        prompt = rollout.dialogue.prompt(group.example)
        written = names["model"].generate(
            **inputs(prompt, policy.image_token),
            do_sample=False,
            max_new_tokens=rollout.max_new_tokens,
            stop_strings=list(rollout.dialogue.tools.stop_texts),
            tokenizer=names["tokenizer"],
        )
        turn = names["tokenizer"].decode(written[0, len(prompt.ids) :])
        assert turn == group.trajectories[0].turns[0]
        assert turn.endswith(rollout.dialogue.tools.stop_texts)


@pytest.mark.parametrize(
    "overrides", [[], [LORA], ["model=tiny_random", LORA]], ids=["full", "lora", "lora on random weights"]
)
def test_the_metadata_for_the_hub(tmp_path, overrides):
    _, text = saved(tmp_path, *overrides)
    front = ModelCard(text).data
    assert front.library_name == ("peft" if overrides else "transformers")
    assert front.pipeline_tag == "image-text-to-text"
    assert "grpo" in front.tags
    assert front.base_model is None and front.license is None


def test_a_base_from_the_hub_is_named(shared_policy):
    assert "base_model: owner/name" in card.front_matter(shared_policy, "owner/name", [])


def test_the_card_says_that_an_adapter_on_random_weights_cannot_be_loaded(tmp_path):
    _, text = saved(tmp_path, "model=tiny_random", LORA)
    assert "random weights that were built for the run and not saved" in text
    assert not code(text)


def test_the_card_says_that_pictures_are_squeezed(tmp_path):
    _, text = saved(tmp_path, LORA, "prompt.aspect=1")
    squeezed = "Squeeze the picture to 1 times as wide as high, leaving its longer side as it is. Resize the picture to"
    assert squeezed in " ".join(text.split())


def test_the_card_has_protocol_scores_and_settings(tmp_path):
    rollout, text = saved(tmp_path, LORA, "crop=300", "resolution=168", "seed=5", "coordinates=original")
    assert rollout.dialogue.system in text and "{tool}" not in code(text, "text")[0]
    assert "Squeeze" not in text
    assert "300x300 pixels" in text and "a long side of 168 pixels" in text and "multiples of 28" in text
    assert "are given in pixels of the original picture" in text
    assert "which is {original_width}x{original_height}. {question}" in code(text, "text")[1]
    assert "| score/all | 0.250 | 0.875 [0.500, 1.000] |\n| score/small | 0.500 | 1.000 |" in text
    assert "| zoom_hit_rate/all | - | - |" in text
    assert "| n/all | 6 | 6 |" in text
    assert "| seed | 5 |" in text and "| command | `python src/train.py" in text
    assert f"The license of the base, `{BASE}`, applies" in text
    elsewhere = text.replace(str(tmp_path / "model"), "")
    assert str(PROJECT) not in elsewhere and str(tmp_path) not in elsewhere


def test_other_tools_and_settings(tmp_path):
    _, text = saved(tmp_path, "tool=none", "reward.weights.tool={start: 0.2, end: 0, steps: 100}")
    assert "There is no tool." in text and "'start': 0.2" in text
    (tmp_path / "other").mkdir()
    _, text = saved(tmp_path / "other", "tool.zoom.output_size=224", "tool.zoom.pixels=shown", "tool.max_calls=2")
    assert "resizes its long side to 224 pixels.\nThe model may make at most 2 calls" in text
    assert "out of the resized picture (at its original size)" in text


def test_the_card_says_how_answers_are_scored():
    question = Example("q", b"", "?", ("1",))
    assert card.score_meaning(question) == "VQA accuracy"
    assert {card.score_meaning(replace(question, metric=name)) for name in terms.SCORES} == set(card.SCORED.values())
    assert card.score_meaning(replace(question, options=("1", "2"))) == "the share of correct options"


def test_the_card_of_a_model_that_answers_with_boxes(tmp_path):
    question = Example("q", b"", "Where?", (), answer_box=(0.0, 0.0, 1.0, 1.0))
    overrides = ["data=boxes", "reward=iou", "tool=none", "experiment=no_thinking", "coordinates=relative_1000"]
    _, text = saved(tmp_path, *overrides, "model.path=null", question=question)
    assert "held-out questions of `data=boxes`" in text
    assert "whose IoU with the correct box is at least 0.5" in text and "VQA accuracy" not in text
    assert "starts with this prefilled text:\n\n```text\n<answer\n```" in text
    assert "Coordinates count in thousandths of width and height." in text
    assert "A box in `<answer>` is given in thousandths of the picture's width and height." in text
