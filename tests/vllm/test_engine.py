import sys
import weakref
from concurrent.futures import Future
from queue import Queue
from threading import Thread
from types import SimpleNamespace

import pytest
import torch

from loupe.errors import EngineLost, UserError
from loupe.vllm.engine import EngineSettings, VllmEngine, _end_waiting

SETTINGS = EngineSettings(context=256, gpu_memory=0.4, gpus=1)


class EngineDeadError(Exception):
    """Stands in for that of vLLM."""


@pytest.fixture(autouse=True)
def exceptions_of_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", SimpleNamespace(EngineDeadError=EngineDeadError))


def start(policy, monkeypatch, error):
    def refuse(**options):
        assert options["max_model_len"] == 256
        raise error

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=refuse))
    VllmEngine(policy, SETTINGS, torch.float32)


def test_an_engine_that_does_not_start_is_told_in_one_line(shared_policy, monkeypatch):
    with pytest.raises(UserError, match=r"^rollout=vllm: the engine does not start \(no memory\); .*context$"):
        start(shared_policy, monkeypatch, RuntimeError("no memory\nat all"))


def test_an_engine_that_has_ended_can_be_told_from_other_errors(shared_policy, monkeypatch):
    with pytest.raises(EngineLost, match="the process of the vLLM engine has ended"):
        start(shared_policy, monkeypatch, EngineDeadError())


class Client:
    """That of vLLM, whose engine's process has ended while something waits for a turn and for a call."""

    def __init__(self):
        self.resources = SimpleNamespace(engine_dead=False)
        self.outputs_queue, self.utility_results = Queue(), {1: Future()}


def test_nothing_waits_forever_for_an_engine_that_has_ended():
    client = Client()
    thread = Thread(target=_end_waiting, args=[weakref.ref(client)])
    thread.start()
    assert client.outputs_queue.empty() and not client.utility_results[1].done()
    client.resources.engine_dead = True
    assert isinstance(client.outputs_queue.get(timeout=20), EngineDeadError)
    with pytest.raises(EngineDeadError):
        client.utility_results[1].result(timeout=20)
    del client
    thread.join(timeout=20)
    assert not thread.is_alive()
