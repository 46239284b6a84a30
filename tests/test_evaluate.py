"""python src/evaluate.py, as a user runs it."""

import json
import sys

import pytest
from test_train import SMALL

import evaluate as entry

FEW = [*SMALL, "model=tiny_random", "logger=none", "evaluate.n=4", "evaluate.samples=2", "evaluate.resamples=20"]


def run(monkeypatch, folder, *overrides):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *FEW, f"paths.output_dir={folder}", *overrides])
    entry.main()


def test_it_leaves_figures_and_every_answer(tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path)
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["parts"]["all"]["score/greedy"]["n"] == 4
    settings = figures["settings"]
    assert (settings["seed"], settings["crop"], settings["resolution"], settings["model"]["path"]) == (
        0,
        400,
        112,
        None,
    )
    assert settings["evaluate"]["samples"] == 2 and settings["tool"]["pixels"] == "original"
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {(c, sum(row["condition"] == c for row in rows)) for c in ("greedy", "sampled", "no_tool", "shuffled")} == {
        ("greedy", 4),
        ("sampled", 8),
        ("no_tool", 4),
        ("shuffled", 4),
    }
    assert (tmp_path / "provenance.json").exists()
    assert "src/evaluate.py" in json.loads((tmp_path / "provenance.json").read_text())["command"]
    run(monkeypatch, tmp_path)  # again in the same folder: nothing is counted twice
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == len(rows)


def test_without_a_tool_there_is_nothing_to_shuffle(tmp_path, monkeypatch):
    run(monkeypatch, tmp_path, "tool=none", "evaluate.samples=0", "evaluate.split=val")
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert not any("shuffled" in key or "gain" in key for key in figures["parts"]["all"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.split=dev", "evaluate.split=dev: must be one of train, val, test"),
        ("evaluate.n=0", "evaluate.n=0: must be a whole number, 1 or more"),
        ("evaluate.samples=-1", "evaluate.samples=-1"),
        ("evaluate.resamples=0", "evaluate.resamples=0"),
        ("resume=outputs/first", "only training goes on; give model.path"),
        ("trainer.accelerator=steam", "trainer.accelerator=steam"),
        ("trainer.precision=8", "trainer.precision=8: must be one of"),
        ("evaluat.n=3", "did you mean evaluate"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, override, message):
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, tmp_path, override)


def test_a_training_run_keeps_its_records(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(SystemExit, match="holds a run; choose another folder"):
        run(monkeypatch, tmp_path)


def test_in_low_precision(tmp_path, monkeypatch):
    run(monkeypatch, tmp_path, "model.dtype=bfloat16", "trainer.precision=bf16-mixed", "evaluate.samples=0")
    assert (tmp_path / "evaluation.json").exists()
