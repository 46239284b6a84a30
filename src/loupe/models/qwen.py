"""Qwen2.5-VL (arXiv 2502.13923) in its published shapes with random weights, to measure speed and memory and to check
numerics without the published weights.
"""

import torch
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from loupe.models.tiny import Parts, build_tokenizer, picture_tokens

DIMENSIONS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
TEXT = {"3b": (2048, 11008, 36, 16, 2), "7b": (3584, 18944, 28, 28, 4)}
VOCABULARY = {"3b": 151936, "7b": 152064}
VISION = {"hidden_size": 1280}
"""Everything else about the vision tower is transformers' default."""
ROPE = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]}


def config(size: str = "3b", text: dict | None = None, vision: dict | None = None) -> Qwen2_5_VLConfig:
    """The configuration of a size, "3b" or "7b"; ``text`` and ``vision`` override single values."""
    given = {"vocab_size": VOCABULARY[size], "max_position_embeddings": 128000, "rope_parameters": ROPE} | (text or {})
    text = dict(zip(DIMENSIONS, TEXT[size], strict=True)) | given
    vision = VISION | {"out_hidden_size": text["hidden_size"]} | (vision or {})
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=size == "3b")


def build(
    size: str = "3b", seed: int = 0, dtype: str = "bfloat16", text: dict | None = None, vision: dict | None = None
) -> Parts:
    """A model of this shape with random weights, the miniature's tokenizer, and Qwen's image processor.

    seed: of the weights. size, text, vision: see :func:`config`.
    """
    tokenizer = build_tokenizer(512)
    shape = config(size, text, vision)
    shape.update(picture_tokens(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(shape, dtype=getattr(torch, dtype))
    return model, tokenizer, Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384})
