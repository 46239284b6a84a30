"""The miniature: a Qwen2.5-VL with 1.6M parameters that uses the same transformers classes as the 3B model.

It is built from the configuration and a seed; nothing is downloaded.
"""

import json

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from loupe.errors import require_int

SPECIAL_TOKENS = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if tools and message['role'] == 'system' -%}"
    "{{- '\n<tools>' -}}{%- for tool in tools -%}{{- '\n' + tool | tojson -}}{%- endfor -%}{{- '\n</tools>' -}}"
    "{%- endif -%}"
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


TEXT = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "max_position_embeddings": 4096}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
VISION = {"hidden_size": 96, "intermediate_size": 256, "depth": 4, "num_heads": 4, "fullatt_block_indexes": [1, 3]}
"""Qwen2.5-VL's proportions as far as the size allows: gated MLPs about 3 widths wide, half as many key heads."""
ROPE = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [4, 6, 6]}
"""Pictures are only a few cells wide, so some channels must rotate quickly to tell cells apart, and others slowly to
find a color anywhere in the picture."""
SPREAD = {"initializer_range": 0.08}
"""At this width, a model learns in reasonable time with 0.08, but not with 0.02."""


Parts = tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLImageProcessorPil]


def build(seed: int = 0) -> Parts:
    """A model with random weights, its tokenizer and its image processor. seed: of the weights."""
    require_int("model.build.seed", seed, 0, 2**32 - 1)
    tokenizer = build_tokenizer(512)
    end, padding = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    special = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": padding}
    vocabulary = {"vocab_size": len(tokenizer), "rope_parameters": ROPE}
    config = Qwen2_5_VLConfig(
        text_config=TEXT | HEADS | SPREAD | vocabulary | special,
        vision_config=VISION | SPREAD | {"out_hidden_size": TEXT["hidden_size"]},
        tie_word_embeddings=True,
        **SPREAD,
        **picture_tokens(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    return model, tokenizer, Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1280})


def picture_tokens(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    """The ids of the tokens that stand for pictures or enclose them, as a Qwen2_5_VLConfig names them."""
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}


def build_tokenizer(vocabulary: int) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens, plus special tokens.

    It pre-splits text by Qwen's rule, which separates digits, keeps "</", "tool" and ">" apart and lets ">" merge with
    a line break. As in the 3B model, a tag is therefore never one token.
    """
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence([words, ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    learner.train_from_iterator(CORPUS, trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]])
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in SPECIAL_TOKENS]})
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
