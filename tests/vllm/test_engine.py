import sys
from types import SimpleNamespace

import pytest
import torch

from loupe.errors import EngineLost, UserError
from loupe.vllm.engine import EngineSettings, VllmEngine

SETTINGS = EngineSettings(context=256, gpu_memory=0.4, gpus=1)


class EngineDeadError(Exception):
    """Stands in for that of vLLM."""


def start(policy, monkeypatch, error):
    def refuse(**options):
        assert options["max_model_len"] == 256
        raise error

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=refuse))
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", SimpleNamespace(EngineDeadError=EngineDeadError))
    VllmEngine(policy, SETTINGS, torch.float32)


def test_an_engine_that_does_not_start_is_told_in_one_line(shared_policy, monkeypatch):
    with pytest.raises(UserError, match=r"^rollout=vllm: the engine does not start \(no memory\); .*context$"):
        start(shared_policy, monkeypatch, RuntimeError("no memory\nat all"))


def test_an_engine_that_has_ended_can_be_told_from_other_errors(shared_policy, monkeypatch):
    with pytest.raises(EngineLost, match="the process of the vLLM engine has ended"):
        start(shared_policy, monkeypatch, EngineDeadError())
