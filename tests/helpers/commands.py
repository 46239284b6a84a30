"""Runs of the commands that are small enough for a test."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import compose_config

import train as entry
from loupe.runs import cli
from loupe.runs.config import command_line, instantiate

ROOT = Path(__file__).parents[2]

SMALL = [
    *("model=tiny_random", "trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.enable_progress_bar=false"),
    *("data.batch_size=2", "data.eval_batch_size=4", "data.n_val=4", "data.n_test=6"),
    *("algorithm.group_size=3", "rollout.max_new_tokens=6", "report.trajectories_every=2", "threads=1"),
]
"""A training run of seconds, with random weights."""

FEW = [
    *("data.n_val=2", "data.n_test=4", "data.batch_size=2", "data.num_workers=0", "trainer.enable_progress_bar=false"),
    *("algorithm.group_size=4", "rollout.max_new_tokens=24", "threads=1", "logger=none"),
]
"""The same for published data sets, with the miniature's weights."""

VOWELS = ["+reward.terms.dense=vowel_terms.vowels", "+reward.weights.dense=1"]
"""A reward term that even random weights earn."""


def run(folder: Path, *overrides: str, drawn: bool = False) -> dict:
    """A small training run in this process; returns its summary. drawn: whether it draws its pictures, for a second."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(entry.run, "_draw", lambda *_: None)
        return entry.train(compose_config(*SMALL, "logger=none", f"paths.output_dir={folder}", *overrides))


def jobs(monkeypatch, name: str, *arguments: str) -> list[tuple]:
    """Settings, reward and command line of each job of the command ``name``; nothing else is built."""
    made = []

    def task(cfg):
        made.append((cfg, instantiate(cfg.reward), command_line()))

    task.__name__ = name
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    cli.entry(task)()
    return made


def lines(path: Path) -> list[dict]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
