"""benchmarks/memory.py on the miniature: the update runs on tensors that have a shape but no contents."""

import importlib

import torch

from loupe.models import tiny
from loupe.paths import PROJECT


def test_the_update_needs_shapes_alone(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    memory = importlib.import_module("memory")
    monkeypatch.setattr(memory.qwen, "build", tiny.build)
    monkeypatch.setattr(memory, "TEXT", 65)
    monkeypatch.setattr(torch, "_check_tensor_all_with", lambda *_, **__: None)
    small, large = (memory.measure(size, 112, 5, recompute=False, shared=True) for size in (2, 8))
    assert small[0] == large[0] > 0  # weights and optimizer
    assert small[0] < small[1] < large[1] < 4 * small[1]
