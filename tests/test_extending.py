"""docs/extending.md: its files, written as they are printed into a user's folder, do what the page says."""

import importlib
import sys

import numpy as np
import pytest
import torch
from conftest import ANSWER, examples, make_rollout
from helpers.commands import SMALL, jobs, lines
from helpers.pages import commands, write_files

import train
from loupe.engine.scripted import ScriptedRollout
from loupe.grpo.advantages import checked_estimator
from loupe.paths import PROJECT
from loupe.records import Group, Trajectory
from loupe.runs.build import own_callbacks
from loupe.runs.config import factory, instantiate
from loupe.tools.toolbox import Toolbox

PAGE = PROJECT / "docs" / "extending.md"
FILE_LINES = 30


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder, with the files of the page."""
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_its_files_are_short(tmp_path):
    files = write_files(PAGE, tmp_path)
    assert files and all(len(file.read_text().splitlines()) <= FILE_LINES for file in files)


@pytest.mark.parametrize("command", commands(PAGE), ids=str)
def test_its_commands_compose(monkeypatch, folder, command):
    """And what they add can be built, from the modules of the page; a study, for one seed."""
    few = ["seed=0"] if "-m" in command.arguments else []
    made = jobs(monkeypatch, command.entry, *command.arguments, *few, "paths.output_dir=out")
    assert len(made) == (2 if few else 1)
    for cfg, reward, _ in made:
        parts = [*reward.terms.values(), *instantiate(cfg.tool).tools.values(), *own_callbacks(cfg.trainer)]
        parts += [instantiate(cfg.algorithm.loss), factory(cfg.algorithm.advantage).func]
        parts += [instantiate(cfg.data).test[0].image]
        assert any(getattr(part, "__module__", "").startswith("my_") for part in parts)
        assert reward.weight("accuracy", 0) == 0.5
        if "brief" in reward.terms:
            assert reward.weight("brief", 0) == cfg.reward.weights.brief


def test_its_terms(monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    mine = importlib.import_module("my_terms")
    three = [Trajectory(sample=0, sampled=[1] * length) for length in (10, 30, 40)]
    group = Group(None, None, three)
    assert [mine.brief(one, group) for one in three] == pytest.approx([1, 1 / 3, 0])
    assert mine.brief(three[1], Group(None, None, [three[1]])) == 1
    assert [mine.Within(30)(one, group) for one in three] == [1, 1, 0]


@pytest.mark.slow
def test_a_run_pays_for_the_term(monkeypatch, folder):
    given = ["--config-dir=my_study", *SMALL, "experiment=brief", "logger=none", "paths.output_dir=out"]
    monkeypatch.setattr(sys, "argv", ["train.py", *given, "trainer.max_steps=2"])
    train.main()
    paid = [row["reward/brief"] for row in lines(folder / "out" / "metrics.jsonl") if "reward/brief" in row]
    assert paid and all(0 <= value <= 1 for value in paid)


def test_its_estimator(monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    best_only = checked_estimator(importlib.import_module("my_advantages").best_only)
    rewards = torch.tensor([[1.0, 3.0, 2.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    assert best_only(rewards).tolist() == [[-0.5, 0.5, -0.5, 0.5], [0, 0, 0, 0]]


def test_its_loss(monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    lengths = torch.tensor([4.0, 16.0])
    weights = importlib.import_module("my_losses").SquareRoot().token_weights(lengths)
    assert (weights * lengths).tolist() == pytest.approx([1 / 3, 2 / 3])  # of each trajectory


CONTRAST = "<think>too dark</think>\n<tool>\nname: contrast\npercent: {}\n</tool>"


def test_its_tool_is_called(monkeypatch, folder, shared_policy):
    monkeypatch.syspath_prepend(folder)
    tool = importlib.import_module("my_tools").Contrast("To see more:{call}")
    given = {"tools": Toolbox(contrast=tool), "script": [[CONTRAST.format(10), ANSWER], [CONTRAST.format(90), ANSWER]]}
    rollout = make_rollout(shared_policy, ScriptedRollout, max_new_tokens=60, **given)
    ((group,), _) = rollout(examples(1), 2, step=0)
    assert [trajectory.events[0].status for trajectory in group.trajectories] == ["ok", "refused"]
    (shown,) = rollout.environment.shown(group.trajectories[0], group.prompt)
    assert np.ptp(shown) > np.ptp(rollout.dialogue.overview(group.prompt.picture)) * 0.99


def test_a_run_with_its_data_tool_metric_and_callback(monkeypatch, folder, capsys):
    given = ["data=digits", "tool=[zoom,contrast]", "+reward.terms.please=my_metrics.says_please", *SMALL]
    given += ["trainer.callbacks=[{_target_: my_callbacks.StopWhenGood, score: 0.0}]", "paths.output_dir=out"]
    monkeypatch.setattr(sys, "argv", ["train.py", "--config-dir=my_study", *given, "logger=none"])
    train.main()
    rows = lines(folder / "out" / "metrics.jsonl")
    assert [row["reward/please"] for row in rows if "reward/please" in row] == [0.0] * 2
    assert {"tool/contrast/calls", "val/tool/contrast/calls", "tool/zoom/calls"} <= {key for row in rows for key in row}
    assert "reached 0.0 after 2 steps" in capsys.readouterr().out
