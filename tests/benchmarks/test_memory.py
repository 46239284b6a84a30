"""benchmarks/memory.py on the miniature: the update runs on tensors that have a shape but no contents."""

import importlib
from functools import partial

import pytest

from loupe.models import tiny
from loupe.paths import PROJECT


@pytest.mark.slow
def test_the_update_needs_shapes_alone(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    memory = importlib.import_module("memory")
    monkeypatch.setattr(memory.qwen, "build", lambda size: tiny.build())
    monkeypatch.setattr(memory, "TEXT", 65)
    made = [partial(memory.make_group, size, 112, 5) for size in (2, 8)]
    small, large = (memory.measure(make, recompute=False) for make in made)
    assert small[0] == large[0] > 0  # weights and optimizer
    assert small[0] < small[1] < large[1] < 4 * small[1]
