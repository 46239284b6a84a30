"""Qwen2.5-VL (arXiv 2502.13923) in its published shapes with random weights, to measure speed and memory and to check
numerics without the published weights.
"""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForImageTextToText,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from loupe.models.tiny import CORPUS, build_tokenizer

TEXT = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "window_size": 112,
    "patch_size": 14,
}
ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]}


def config(size: str = "3b", text: dict | None = None, vision: dict | None = None) -> Qwen2_5_VLConfig:
    """The configuration of a size, "3b" or "7b"; ``text`` and ``vision`` override single values."""
    text = TEXT[size] | {"rope_parameters": ROPE, "max_position_embeddings": 128000} | (text or {})
    vision = VISION | {"out_hidden_size": text["hidden_size"]} | (vision or {})
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=size == "3b")


def build(
    size: str = "3b", seed: int = 0, dtype: str = "bfloat16", text: dict | None = None, vision: dict | None = None
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLImageProcessorPil]:
    """A model of this shape with random weights, the miniature's tokenizer, and Qwen's image processor.

    seed: of the weights. size, text, vision: see :func:`config`.
    """
    tokenizer = build_tokenizer(len(CORPUS) + 512)
    shape = config(size, text, vision)
    for name, token in [
        ("image_token_id", "<|image_pad|>"),
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
    ]:
        setattr(shape, name, tokenizer.convert_tokens_to_ids(token))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(shape, dtype=getattr(torch, dtype))
    return model, tokenizer, Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384})
