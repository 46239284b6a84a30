import torch
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from loupe.models.tiny import build, build_tokenizer


def test_it_is_a_small_qwen2_5_vl():
    model, tokenizer, image_processor = build()
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    assert isinstance(image_processor, Qwen2VLImageProcessorPil)
    assert 1_400_000 < sum(p.numel() for p in model.parameters()) < 1_700_000
    assert model.config.vision_config.depth == model.config.text_config.num_hidden_layers == 4
    assert model.config.text_config.rope_parameters["rope_theta"] == 500
    assert model.get_input_embeddings().weight is model.lm_head.weight
    assert len(tokenizer) == model.config.text_config.vocab_size


def test_the_seed_decides_the_weights_and_nothing_else():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, second, other = (build(seed=seed)[0].lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_tokenizer_is_lossless_and_keeps_digits_alone():
    tokenizer = build_tokenizer(400)
    text = "keypoint: [123, 45]\n</tool> ünïcode 漢字 \t\n\n"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = [tokenizer.decode([i]) for i in ids]
    assert [p for p in pieces if any(c.isdigit() for c in p)] == ["1", "2", "3", "4", "5"]


def test_tags_are_never_one_token():
    tokenizer = build_tokenizer(400)
    for tag in ("<think>", "</think>", "<tool>", "</tool>", "<answer>", "</answer>"):
        assert len(tokenizer(tag)["input_ids"]) > 1, tag


def test_a_closing_tag_can_merge_with_a_line_break():
    tokenizer = build_tokenizer(400)
    alone, merged = tokenizer("</tool>")["input_ids"], tokenizer("</tool>\n")["input_ids"]
    assert len(alone) == len(merged)
    assert alone[-1] != merged[-1]


def test_the_tokenizer_is_the_same_every_time():
    first, second = build_tokenizer(400), build_tokenizer(400)
    assert first.get_vocab() == second.get_vocab()
