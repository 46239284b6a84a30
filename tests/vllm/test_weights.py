import torch
from helpers.compare import assert_close
from safetensors.torch import load_file

from loupe.models import load, tiny
from loupe.vllm import weights


def test_the_files_of_a_model(policy, tmp_path):
    weights.write_model(policy, tmp_path, torch.bfloat16)
    held, given = load_file(tmp_path / weights.WEIGHTS), policy.backbone.state_dict()
    assert held.keys() == given.keys() and "lm_head.weight" in held
    assert {tensor.dtype for tensor in held.values()} == {torch.bfloat16}
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "tokenizer.json", "preprocessor_config.json", "video_preprocessor_config.json"} <= names


def test_an_adapter_is_written_apart(tmp_path):
    plain = dict(weights.base_weights(load.load_policy(None, build=lambda: tiny.build(seed=0))))
    options = {"lora": {"r": 4, "alpha": 8}, "train_vision": False}
    adapted = load.load_policy(None, build=lambda: tiny.build(seed=0), **options)
    base = dict(weights.base_weights(adapted))
    assert base.keys() == plain.keys()
    for name, tensor in plain.items():
        assert_close(base[name], tensor, atol=0)
    weights.write_adapter(adapted, tmp_path)
    assert all(".lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
