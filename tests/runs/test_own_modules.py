"""A user's own modules and configuration, in a folder outside of the project."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers.commands import ROOT, SMALL, jobs, lines
from omegaconf import OmegaConf

from loupe.runs import resume

TERM = """
def brief(trajectory, group):
    return float(len(trajectory.text) == min(len(other.text) for other in group.trajectories))
"""
REWARD = """
defaults: [answer_only, _self_]
terms: {brief: my_terms.brief}
weights: {brief: 0.2}
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /reward: brief
trainer: {max_steps: 2}
"""
SHORT = ["--config-dir", "my_conf", *(override for override in SMALL if "max_steps" not in override), "logger=none"]


@pytest.fixture
def user(tmp_path, monkeypatch):
    """The folder in which the user stands: a module, and a folder with configuration."""
    folder = tmp_path / "user"
    for group, name, text in (("reward", "brief", REWARD), ("experiment", "mine", EXPERIMENT)):
        (folder / "my_conf" / group).mkdir(parents=True)
        (folder / "my_conf" / group / f"{name}.yaml").write_text(text)
    (folder / "my_terms.py").write_text(TERM)
    monkeypatch.chdir(folder)
    forget(monkeypatch)
    yield folder
    sys.modules.pop("my_terms", None)


def forget(monkeypatch):
    """Begin as a new process does, from whose path the current folder is missing."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place and "user" not in place.split(os.sep)])
    sys.modules.pop("my_terms", None)


def test_a_run_is_resumed_from_elsewhere(monkeypatch, user, tmp_path):
    """Its folder of configuration is recorded, and searched again."""
    run = tmp_path / "run"
    ((cfg, _, command),) = jobs(monkeypatch, "train", "-cd", "my_conf", "reward=brief", f"paths.output_dir={run}")
    (run / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    (run / "provenance.json").write_text(json.dumps({"command": command}))

    forget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    ((cfg, reward, _),) = jobs(monkeypatch, "train", f"resume={run}", "++reward.weights.brief=0.5", "seed=3")
    assert reward.terms["brief"].__module__ == "my_terms" and reward.weight("brief", 0) == 0.5
    assert cfg.seed == 3 and cfg.reward.weights.format == 0
    assert resume.own_folders(run) == [user / "my_conf"]
    assert resume.whole_command(run) == "python src/train.py --config-dir=my_conf reward=brief"


def test_the_command_of_a_run_that_changed_what_it_had_added(tmp_path):
    for name, given in (("provenance.json", "+reward.terms.mine=a.b seed=3"), ("parts.jsonl", "reward.terms.mine=a.c")):
        (tmp_path / name).write_text(json.dumps({"command": f"python src/train.py {given}"}) + "\n")
    assert resume.whole_command(tmp_path) == "python src/train.py ++reward.terms.mine=a.c seed=3"


@pytest.mark.parametrize("name", ["mine", "ask"])
def test_other_commands_know_them(monkeypatch, user, tmp_path, name):
    given = ["-cd", "my_conf", "reward=brief", f"paths.output_dir={tmp_path}"]
    ((_, reward, command),) = jobs(monkeypatch, name, *given)
    assert reward.terms["brief"].__module__ == "my_terms" and reward.weight("brief", 0) == 0.2
    assert command == f"python src/{name}.py --config-dir={user}/my_conf reward=brief"


def test_a_sweep_knows_them(monkeypatch, user, tmp_path):
    made = jobs(monkeypatch, "train", "-m", "-cd=my_conf", "reward=brief,composite", f"paths.output_dir={tmp_path}")
    assert ["brief" in reward.terms for _, reward, _ in made] == [True, False]


def test_a_module_in_the_current_folder_needs_no_configuration(monkeypatch, user, tmp_path):
    added = ["+reward.terms.mine=my_terms.brief", "+reward.weights.mine=1", f"paths.output_dir={tmp_path}"]
    ((_, reward, _),) = jobs(monkeypatch, "train", *added)
    assert reward.terms["mine"].__module__ == "my_terms"


def test_a_file_that_would_not_be_read(monkeypatch, user, tmp_path):
    (user / "my_conf" / "reward" / "composite.yaml").write_text(REWARD)
    with pytest.raises(SystemExit, match=r"my_conf/reward/composite\.yaml: the project has a file of this name"):
        jobs(monkeypatch, "train", "-cd", "my_conf", "reward=composite", f"paths.output_dir={tmp_path}")


def test_an_installed_module_is_never_hidden(monkeypatch, user, tmp_path):
    (user / "string.py").write_text(TERM)
    with pytest.raises(SystemExit, match=rf"has no brief; {user}/string\.py is hidden behind it: rename that"):
        jobs(monkeypatch, "train", "+reward.terms.mine=string.brief", f"paths.output_dir={tmp_path}")
    assert sys.path[-1] == str(user)


@pytest.mark.slow
def test_the_command_itself(user, tmp_path):
    """From the user's folder, as a process of its own, in which Python's path begins with src/."""

    def command(name, *arguments):
        given = [sys.executable, ROOT / "src" / f"{name}.py", *arguments]
        bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(given, cwd=user, env=bare, capture_output=True, text=True, timeout=200)

    done = command("train", *SHORT, "experiment=mine", "paths.output_dir=run")
    assert done.returncode == 0, done.stderr
    assert any("reward/brief" in row for row in lines(user / "run" / "metrics.jsonl"))
    assert f"train.py --config-dir={user}/my_conf " in (user / "run" / "provenance.json").read_text()
    assert "train.py --config-dir=my_conf model=tiny_random" in (user / "run" / "model" / "README.md").read_text()
    judged = command("evaluate", "-cd", "my_conf", "experiment=mine", "model.path=run/model", "data.n_test=2")
    assert judged.returncode == 0, judged.stderr
    shutil.move(user / "my_terms.py", tmp_path)
    gone = command("train", "resume=run", "trainer.max_steps=3")
    assert gone.returncode == 1 and gone.stderr.count("\n") == 1
    assert "reward.terms.brief=my_terms.brief: there is no module my_terms" in gone.stderr
