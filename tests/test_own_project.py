"""examples/own_project: copied elsewhere, its commands do what its README says."""

import shutil
import sys

import pytest
from helpers.commands import SMALL, lines
from helpers.pages import commands
from PIL import Image

import show
import train
from loupe.paths import PROJECT
from loupe.records import Example, Group, Trajectory

SOURCE = PROJECT / "examples" / "own_project"


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(SOURCE, tmp_path / "copy", ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "copy"
    for name in ("my_data", "my_terms", "my_tools"):
        sys.modules.pop(name, None)


def run(monkeypatch, entry, *overrides):
    monkeypatch.setattr(sys, "argv", [f"{entry.__name__}.py", "--config-dir", "conf", "experiment=gauges", *overrides])
    entry.main()


def test_a_run_with_its_data_reward_and_tools(project, monkeypatch):
    run(monkeypatch, train, *SMALL, "trainer.max_steps=2", "logger=none", "paths.output_dir=out")
    rows = lines(project / "out" / "metrics.jsonl")
    assert {"reward/near", "reward/shortest", "tool/zoom/calls", "tool/contrast/calls"} <= rows[-2].keys()
    card = (project / "out" / "model" / "README.md").read_text()
    assert "The tool `contrast` stretches the contrast of the picture." in card and "at most 2 calls" in card


def test_what_it_shows(project, monkeypatch, capsys):
    run(monkeypatch, show, "model=tiny_random", "show.count=1", "paths.output_dir=out")
    assert "What does the gauge read? -> " in capsys.readouterr().out
    assert Image.open(project / "out" / "1.jpg").size == (1200, 900)


def test_its_terms(project, monkeypatch):
    monkeypatch.syspath_prepend(project)
    import my_terms

    answers = [
        Trajectory(0, sampled=[1] * length, turns=[f"<answer>{said}</answer>"])
        for said, length in [("7", 3), ("dark", 2)]
    ]
    group = Group(Example("1", b"", "?", ("4",)), None, answers)
    assert [my_terms.near(answer, group) for answer in answers] == [pytest.approx(0.7), 0.0]
    assert [my_terms.shortest(answer, group) for answer in answers] == [0.0, 1.0]


def test_its_readme_names_its_commands():
    named = [line for line in (SOURCE / "README.md").read_text().splitlines() if line.startswith("python ../../src/")]
    assert len(named) == 3 and all("--config-dir conf experiment=gauges" in line for line in named)
    assert commands(SOURCE / "README.md") == []  # they are relative to the folder of the project
