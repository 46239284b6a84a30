"""The published shapes: on the meta device where only sizes matter, with real numbers for one layer."""

import pytest
import torch
from conftest import MIXED, compose_config, scripted
from peft import get_peft_model_state_dict
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from loupe.engine import reference, update
from loupe.engine.policy import Policy
from loupe.models import qwen
from loupe.models.load import load_policy
from loupe.models.tiny import build_tokenizer
from loupe.pictures import grid_size, resize_to_grid

LORA = {"r": 64, "alpha": 128, "target": "all-linear"}


@pytest.mark.parametrize(("size", "parameters"), [("3b", 3_754_622_976), ("7b", 8_292_166_656)])
def test_number_of_parameters(size, parameters):
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(qwen.config(size))
    assert sum(p.numel() for p in model.parameters()) == parameters


def on_meta():
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(qwen.config("3b"))
    return model, build_tokenizer(512), Qwen2VLImageProcessorPil()


def test_the_adapter_is_on_every_linear_layer_of_the_language_model_only():
    policy = load_policy(None, on_meta, LORA, train_vision=False)
    targets = {name.rsplit(".lora_", 1)[0].removeprefix("base_model.model.") for name in adapters(policy)}
    kinds = [f"self_attn.{k}_proj" for k in "qkvo"] + [f"mlp.{k}_proj" for k in ("gate", "up", "down")]
    assert targets == {f"model.language_model.layers.{i}.{kind}" for i in range(36) for kind in kinds}
    width, inner, keys = 2048, 11008, 256
    rows = [
        (width, width),
        (width, keys),
        (width, keys),
        (width, width),
        (width, inner),
        (width, inner),
        (inner, width),
    ]
    assert sum(p.numel() for p in policy.parameters() if p.requires_grad) == 36 * 64 * sum(map(sum, rows))


def test_the_adapter_can_be_on_the_vision_tower_too():
    names = adapters(load_policy(None, on_meta, LORA, train_vision=True))
    assert any(".visual.blocks.31.mlp.down_proj." in name for name in names)


def adapters(policy):
    return get_peft_model_state_dict(policy.model).keys()


@pytest.mark.parametrize("long_side", [224, 448, 672, 1024, 1400])
def test_image_tokens_are_those_of_transformers(long_side):
    """After our resize, Qwen's own processor changes nothing and gives the same number of tokens."""
    theirs = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384})
    for width, height in [(1600, 1200), (1024, 768), (765, 1024), (500, 501), (3000, 400), (2250, 1500)]:
        shown = resize_to_grid(Image.new("RGB", (width, height)), long_side, 28)
        out = theirs(images=[shown], return_tensors="pt")
        assert out["image_grid_thw"].tolist() == [[1, shown.height // 14, shown.width // 14]]
        columns, rows = (side // 28 for side in grid_size(width, height, long_side))
        assert out["image_grid_thw"].prod().item() // 4 == columns * rows


def worst_gap(policy):
    """The largest difference between log-probabilities of the shared-prefix engine and those of the reference."""
    groups = scripted(policy, MIXED[1:3], max_new_tokens=60)
    gaps = []
    for trajectory, ours in update.logprobs(policy, groups, 1.0, 700):
        expected = reference.logprobs(policy, groups[0].prompt, trajectory, 1.0).tolist()
        gaps += [abs(a - b) for a, b in zip(ours, expected, strict=True)]
        gaps += [abs(a - b) for a, b in zip(trajectory.sampled_logprobs, expected, strict=True)]
    return max(gaps)


@torch.no_grad()
@pytest.mark.slow
def test_one_layer_of_full_width():
    text = {"num_hidden_layers": 1, "vocab_size": 600}
    policy = Policy(*qwen.build("3b", dtype="float32", text=text, vision={"depth": 2, "fullatt_block_indexes": [1]}))
    assert worst_gap(policy) < 1e-4


def test_qwen3_vl_uses_the_same_code():
    """Including its features of deeper layers and its patches of 16 pixels."""
    policy = Policy(*build_qwen3())
    with torch.no_grad():
        assert worst_gap(policy) < 1e-4
    groups = scripted(policy, MIXED, max_new_tokens=60)
    update.backward(policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, 700)
    ours = {name: p.grad.clone() for name, p in policy.named_parameters()}
    policy.zero_grad()
    sum(reference.logprobs(policy, groups[0].prompt, t, 1.0).sum() for t in groups[0].trajectories).backward()
    for name, parameter in policy.named_parameters():
        assert (ours[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm().clamp(min=1e-3), name
    assert compose_config("model=qwen3_vl_4b_lora").tool.coordinates == "relative_1000"


def build_qwen3():
    tokenizer = build_tokenizer(512)
    token = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    shape = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": 64,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return Qwen3VLForConditionalGeneration(shape), tokenizer, Qwen2VLImageProcessorPil(patch_size=16, merge_size=2)


@pytest.mark.parametrize("name", ["qwen2_5_vl_3b", "qwen2_5_vl_3b_lora", "qwen2_5_vl_7b_lora", "qwen3_vl_4b_lora"])
def test_a_large_model_sets_its_own_defaults_and_the_command_line_takes_precedence(name):
    chosen = compose_config(f"model={name}")
    assert chosen.trainer.precision == "bf16-mixed" and chosen.rollout.max_new_tokens == 512
    assert chosen.algorithm.optimizer.lr == (1e-5 if name.endswith("lora") else 1e-6)
    assert compose_config(f"model={name}", "algorithm=dapo", "algorithm.optimizer.lr=1").algorithm.optimizer.lr == 1
