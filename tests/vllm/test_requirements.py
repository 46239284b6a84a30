import pytest
import torch
from conftest import compose_config, make_rollout, zoom_tools

from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.models import load, tiny
from loupe.vllm import requirements
from loupe.vllm.rollout import VllmRollout


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, r"vLLM is not installed; pip install -r requirements-vllm\.txt"),
        ("0.33.1", r"vLLM 0\.33\.1 is installed, but 0\.32 is needed; pip install -r requirements-vllm\.txt"),
    ],
)
def test_vllm_is_missing_or_another_version(shared_policy, monkeypatch, version, message):
    monkeypatch.setattr(requirements, "installed", lambda: version)
    with pytest.raises(UserError, match=message):
        make_rollout(shared_policy, VllmRollout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 2.5}, r"rollout\.temperature=2\.5: must be a number from 0\.01 to 2"),
        ({"temperature": 0.001}, r"rollout\.temperature=0\.001: must be a number from 0\.01 to 2"),
        ({"context": 5000}, r"rollout\.context=5000: must be a whole number from 65 to 4096"),
        ({"gpu_memory": 1.5}, r"rollout\.gpu_memory=1\.5: must be a number above 0 to 1"),
        ({"gpus": 0}, r"rollout\.gpus=0: must be a whole number, 1 or more"),
        ({"canary_gap": 0}, r"rollout\.canary_gap=0: must be a number above 0"),
    ],
)
def test_what_it_cannot_do_is_said_beforehand(shared_policy, options, message):
    with pytest.raises(UserError, match=message):
        make_rollout(shared_policy, VllmRollout, **options)


def adapted(**options) -> Policy:
    return load.load_policy(None, build=lambda: tiny.build(seed=0), **options)


def test_adapters_in_the_vision_tower_are_refused():
    with pytest.raises(UserError, match=r"no adapters in the vision tower; set model\.train_vision=false"):
        make_rollout(adapted(lora={"r": 4, "alpha": 8}), VllmRollout)
    with pytest.raises(UserError, match="no adapters in the vision tower"):
        make_rollout(adapted(lora={"r": 4, "alpha": 8}, trainable=False), VllmRollout)
    make_rollout(adapted(lora={"r": 4, "alpha": 8}, train_vision=False), VllmRollout)


def test_weights_in_4_bits_are_refused(policy):
    policy.backbone.is_quantized = True
    with pytest.raises(UserError, match=r"no weights in 4 bits"):
        make_rollout(policy, VllmRollout)


def test_a_tool_that_must_not_be_called_is_refused(shared_policy):
    with pytest.raises(
        UserError, match=r"cannot keep a policy from calling tools, .*; leave it out, or use rollout=packed"
    ):
        make_rollout(shared_policy, VllmRollout, tools=zoom_tools().described())


def test_the_group_corrects_for_another_distribution_unless_told_otherwise():
    cfg = compose_config("rollout=vllm", "rollout.temperature=0.5")
    assert cfg.rollout.temperature == 0.5 and "fixed_shapes" not in cfg.rollout
    assert (cfg.algorithm.old_logprobs, cfg.algorithm.importance_cap) == ("update", 2.0)
    assert compose_config("rollout=vllm", "algorithm.importance_cap=5").algorithm.importance_cap == 5
    assert compose_config("rollout=vllm", "model=qwen2_5_vl_3b", "data=vqa").rollout.max_new_tokens == 512


@pytest.mark.parametrize(
    ("shown", "first", "gpus", "expected"),
    [(None, 0, 1, "0"), (None, 1, 2, "1,2"), ("", 2, 1, "2"), ("5,7,6", 1, 1, "7"), ("GPU-a,GPU-b", 1, 1, "GPU-b")],
)
def test_an_engine_takes_the_gpus_of_its_process(monkeypatch, shown, first, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert requirements.visible_gpus(first, gpus) == expected


def test_an_engine_of_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with pytest.raises(UserError, match=r"rollout\.gpus=2: only 1 are left, counting from this process's own"):
        requirements.visible_gpus(1, 2)


def test_engines_of_several_processes_take_a_gpu_each(monkeypatch):
    requirements.require_own_gpus(2)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    requirements.require_own_gpus(1)
    with pytest.raises(UserError, match=r"rollout\.gpus=2: each of the run's 2 processes has an engine on its own GPU"):
        requirements.require_own_gpus(2)
