"""The miniature: a Qwen2.5-VL with 1.6M parameters that uses the same transformers classes as the 3B model.

It is built from the configuration and a seed; nothing is downloaded.
"""

from __future__ import annotations

import json

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


CORPUS = [
    "system\nThink inside <think></think>, then answer inside <answer></answer>.",
    " To see a detail of the original picture, call the tool instead of answering:",
    "<tool>\nname: zoom\nkeypoint: [x, y]\n</tool>",
    "user\nThe picture is 112x84 pixels. What number is on the red sign?",
    "What number is on the green sign? What number is on the blue sign? What number is on the yellow sign?",
    "What number is on the orange sign? What number is on the purple sign? What number is on the cyan sign?",
    "Where is the pink sign? Point at the red sign. What signs are there?",
    "assistant\n<think>The sign is small.</think>\n<tool>\nname: zoom\nkeypoint: [12, 34]\n</tool>",
    "assistant\n<think>The sign is large.</think>\n<answer>123</answer>",
    "<think>I can read it.</think>\n<answer>456</answer>",
    "<think>I can see it.</think>\n<answer>[12, 34, 56, 78]</answer>",
    "Error: the keypoint [300, 20] is outside the picture. Error: the call is not valid.",
]
"""The text that the tokenizer learns its merges from: sentences that the miniature reads and writes."""


def build(
    seed: int = 0,
    vocabulary: int = 512,
    text_width: int = 128,
    text_depth: int = 4,
    vision_width: int = 96,
    vision_depth: int = 4,
    heads: int = 4,
    initializer_range: float = 0.08,
    rope_theta: float = 500.0,
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLImageProcessorPil]:
    """A model with random weights, its tokenizer and its image processor.

    seed: of the weights. vocabulary: the largest size of the vocabulary before special tokens.
    initializer_range: at this width, a model learns in reasonable time with 0.08, but not with 0.02.
    rope_theta: pictures are only a few cells wide, so some channels must rotate quickly to tell cells apart, and others
    slowly to find a color anywhere in the picture.
    """
    tokenizer = build_tokenizer(vocabulary)
    config = build_config(
        tokenizer, text_width, text_depth, vision_width, vision_depth, heads, initializer_range, rope_theta
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    return model, tokenizer, Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1280})


def build_config(
    tokenizer: Qwen2Tokenizer,
    text_width: int,
    text_depth: int,
    vision_width: int,
    vision_depth: int,
    heads: int,
    initializer_range: float,
    rope_theta: float,
) -> Qwen2_5_VLConfig:
    """Qwen2.5-VL's proportions as far as the size allows: gated MLPs about 3 widths wide, half as many key heads."""
    token = tokenizer.convert_tokens_to_ids
    rotary = text_width // heads // 2
    per_axis = (rotary - rotary // 4) // 2
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text_width,
            "intermediate_size": 3 * text_width,
            "num_hidden_layers": text_depth,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": rope_theta,
                "mrope_section": [rotary - 2 * per_axis, per_axis, per_axis],
            },
            "initializer_range": initializer_range,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_width,
            "intermediate_size": vision_width * 8 // 3,
            "num_heads": heads,
            "out_hidden_size": text_width,
            "fullatt_block_indexes": [vision_depth // 2 - 1, vision_depth - 1],
            "initializer_range": initializer_range,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        initializer_range=initializer_range,
    )


def build_tokenizer(vocabulary: int) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens, plus special tokens.

    It pre-splits text by Qwen's rule, which separates digits, keeps "</", "tool" and ">" apart and lets ">" merge with
    a line break. As in the 3B model, a tag is therefore never one token.
    """
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
