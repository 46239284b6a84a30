"""The command ``resume=<folder>`` continues a run with its own settings, wherever its folder is now."""

import io
import json
import re
import shutil
import sys
from contextlib import redirect_stdout
from unittest import mock

import pytest
from helpers.commands import SMALL, jobs, lines
from omegaconf import OmegaConf

import train
from loupe.errors import UserError
from loupe.runs.resume import changed_settings, saved_settings, whole_command


def command(*overrides):
    """What ``src/train.py`` prints."""
    with mock.patch.object(sys, "argv", ["src/train.py", *overrides]), redirect_stdout(io.StringIO()) as printed:
        train.main()
    return printed.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of two steps whose settings are not the defaults."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    given = ["trainer.max_steps=2", "seed=3", "reward=composite", "crop=300", "logger=none"]
    small = [setting for setting in SMALL if "max_steps" not in setting]
    command(*small, *given, f"paths.output_dir={folder}")
    return folder


@pytest.fixture
def copy(first, tmp_path):
    """The run in another place; where it was there is nothing to be found."""
    shutil.copytree(first, tmp_path / "copy")
    first.rename(first.with_name("hidden"))
    yield tmp_path / "copy"
    first.with_name("hidden").rename(first)


def test_it_keeps_its_settings_and_changes_what_is_named(copy):
    config = (copy / "config.yaml").read_bytes()
    printed = command(f"resume={copy}", "trainer.max_steps=4", "crop=200", "logger=csv")
    assert "crop=200, logger.csv=" in printed and "tool.zoom.crop=200, trainer.max_steps=4" in printed
    assert (copy / "config.yaml").read_bytes() == config
    (part,) = lines(copy / "parts.jsonl")
    assert part["changed"].pop("logger.csv")["save_dir"] == str(copy)
    assert part["step"] == 2 and part["changed"] == {"crop": 200, "tool.zoom.crop": 200, "trainer.max_steps": 4}
    assert (copy / "csv/version_0/metrics.csv").exists()
    steps = [row for row in lines(copy / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4] and {row["n/all"] for row in steps} == {6}
    assert json.loads((copy / "summary.json").read_text())["seed"] == 3
    (stated,) = re.findall(r"\| command \| `(.*)` \|", (copy / "model" / "README.md").read_text())
    assert "seed=3" in stated and "crop=200" in stated and "trainer.max_steps=4" in stated  # the run as a whole
    assert "crop=300" not in stated and str(copy) not in stated


def test_another_command_says_which_one_resumes_it(copy, monkeypatch):
    with pytest.raises(SystemExit, match=r"is a run of train\.py, not of sft\.py; resume it with src/train\.py, or"):
        jobs(monkeypatch, "sft", f"resume={copy}", "trainer.max_steps=4")


@pytest.mark.slow
def test_a_finished_copy_keeps_its_best_checkpoint(copy):
    """It has nothing to train, evaluates the weights that were best, and finds the same scores."""
    before = json.loads((copy / "summary.json").read_text())
    command(f"resume={copy}")
    after = json.loads((copy / "summary.json").read_text())
    assert after["best_val_score"] == before["best_val_score"] and after["after"] == before["after"]


@pytest.mark.parametrize("content", ["{half", "", "seed: 3", None])
def test_damaged_settings_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml cannot be read .*; restore it from a copy"):
        saved_settings(tmp_path)


def test_what_has_changed():
    before = OmegaConf.to_container(OmegaConf.create({"a": {"b": 1, "c": 2}, "d": [1], "resume": None}))
    after = {"a": {"b": 1, "c": 3, "e": None}, "d": [2], "resume": "x"}
    assert changed_settings(before, after) == {"a.c": 3, "d": [2]}


@pytest.mark.parametrize("scale, estimator", [("std", "group_std"), ("none", "group_mean")])
def test_a_run_that_was_recorded_under_former_names(tmp_path, scale, estimator):
    """Of the time when the estimator was the setting algorithm.advantage_scale."""
    recorded = {"paths": {"output_dir": "/elsewhere"}, "algorithm": {"group_size": 8, "advantage_scale": scale}}
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(recorded)))
    command = f"python src/train.py seed=3 algorithm.advantage_scale={scale}"
    (tmp_path / "provenance.json").write_text(json.dumps({"command": command}))
    target = f"loupe.grpo.advantages.{estimator}"
    assert saved_settings(tmp_path).algorithm == {
        "group_size": 8,
        "advantage": {"_target_": target, "_partial_": True},
    }
    assert whole_command(tmp_path) == f"python src/train.py seed=3 algorithm.advantage._target_={target}"
