"""docs/extending.md: its files, written as they are printed into a user's folder, do what the page says."""

import importlib
import sys

import pytest
from helpers.commands import SMALL, jobs, lines
from helpers.pages import commands, write_files

import train
from loupe.paths import PROJECT
from loupe.records import Group, Trajectory

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
    """And what they pay for can be built; a study, for one seed."""
    few = ["seed=0"] if "-m" in command.arguments else []
    made = jobs(monkeypatch, command.entry, *command.arguments, *few, "paths.output_dir=out")
    assert len(made) == (2 if few else 1)
    for cfg, reward, _ in made:
        added = reward.terms.keys() & {"brief", "within"}
        assert added and all(callable(reward.terms[name]) for name in added)
        assert reward.weight("brief" if "brief" in added else "within", 0) == cfg.reward.weights.get("brief", 0)


def test_its_terms(monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    mine = importlib.import_module("my_terms")
    three = [Trajectory(sample=0, sampled=[1] * length) for length in (10, 30, 40)]
    group = Group(None, None, three)
    assert [mine.brief(one, group) for one in three] == pytest.approx([1, 1 / 3, 0])
    assert mine.brief(three[1], Group(None, None, [three[1]])) == 1
    assert [mine.Within(30)(one, group) for one in three] == [1, 1, 0]


def test_a_run_pays_for_the_term(monkeypatch, folder):
    given = ["--config-dir=my_study", *SMALL, "experiment=brief", "logger=none", "paths.output_dir=out"]
    monkeypatch.setattr(sys, "argv", ["train.py", *given, "trainer.max_steps=2"])
    train.main()
    paid = [row["reward/brief"] for row in lines(folder / "out" / "metrics.jsonl") if "reward/brief" in row]
    assert paid and all(0 <= value <= 1 for value in paid)
