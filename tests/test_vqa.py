"""The commands on questions of one's own: mined, trained on the hard ones, evaluated."""

import csv
import json

import datasets
import pytest
import torch
from conftest import compose_config
from helpers import own_data
from helpers.commands import FEW, lines
from PIL import Image

import evaluate as judging
import mine as mining
import train as training
from loupe.errors import Interrupted
from loupe.models.load import load_policy
from loupe.runs.checkpoints import LastCheckpoint

COMMAND = ["data=vqa", "model=tiny_random", "resolution=56", "crop=20", *FEW, "rollout.max_new_tokens=4"]


def test_it_is_mined_trained_and_evaluated(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    own_data.separated(tmp_path / "own")
    given = [*COMMAND, f"data.path={tmp_path / 'own'}", "data.metric=exact", "data.n_train=6"]

    def command(*overrides, out, name="train"):
        return compose_config(*given, *overrides, f"paths.output_dir={tmp_path / out}", name=name)

    scores = mining.mine(command("evaluate.samples=1", out="mined", name="mine"))
    assert len(scores) == 6 and set(scores) <= {f"q{number}" for number in range(40)}
    hard = [f"data.mined={tmp_path / 'mined'}", "data.mix=zero", "trainer.max_steps=1"]
    assert training.train(command(*hard, out="run"))["after"]["n"]["all"] == 4
    assert "`score` is the share of answers that equal a reference" in (tmp_path / "run/model/README.md").read_text()
    model = f"model.path={tmp_path / 'run' / 'model'}"
    judging.evaluate(command(model, "evaluate.conditions=[greedy]", out="judged", name="evaluate"))
    score = json.loads((tmp_path / "judged" / "evaluation.json").read_text())["conditions"]["greedy"]["score"]
    assert set(score) == {"all", "even", "odd"} and score["all"]["n"] == 4


def test_a_picture_that_is_added_later_is_asked_about(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    own, out = tmp_path / "own", tmp_path / "mined"
    own.mkdir()
    (own / "labels.csv").write_text("id,image,question,answer\n" + "".join(f"{x},{x}.png,What?,{x}\n" for x in "abc"))

    def mine(*pictures):
        for name in pictures:
            Image.new("RGB", (40, 20), "red").save(own / f"{name}.png")
        settings = ["evaluate.samples=1", "data.split=null", f"data.path={own}", f"paths.output_dir={out}"]
        mining.mine(compose_config(*COMMAND, *settings, name="mine"))
        with (out / "mined.csv").open() as rows:
            ids = [row["id"] for row in csv.DictReader(rows)]
        return ids, (out / "answers.jsonl").read_text().count("\n")

    assert mine("a", "c") == (["a", "c"], 2)
    assert mine("b") == (["a", "b", "c"], 3)


def checkpoints(folder):
    found = {path.name: torch.load(path, weights_only=True) for path in (folder / "checkpoints").iterdir()}
    return {name: state["global_step"] for name, state in found.items()}, found["last.ckpt"]["state_dict"]


def test_without_held_out_questions_the_weights_are_those_of_the_last_step(tmp_path, monkeypatch):
    """Checkpoints are written where validations would be; a run that is stopped at one resumes from there."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    own_data.mixed_json(tmp_path / "own")
    given = [*COMMAND, f"data.path={tmp_path / 'own' / 'mine_train.json'}", "data.split={val: 0, test: 0}"]
    given += ["trainer.max_steps=5", "trainer.val_check_interval=2"]

    def train(out, *overrides):
        return training.train(compose_config(*given, f"paths.output_dir={out}", *overrides))

    summary = train(whole := tmp_path / "whole")
    assert summary["before"] == summary["after"] == {} and summary["best_val_score"] is None
    steps, last = checkpoints(whole)
    assert steps == {"last.ckpt": 5, "previous.ckpt": 4}
    loaded = load_policy(str(whole / "model")).state_dict()
    assert all(torch.equal(loaded[name.removeprefix("policy.")], tensor) for name, tensor in last.items())

    save = LastCheckpoint._save

    def signalled(self, trainer):
        self.requested = trainer.global_step == 2
        save(self, trainer)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="stopped after step 2"):
        patch.setattr(LastCheckpoint, "_save", signalled)
        train(parts := tmp_path / "parts")
    monkeypatch.setattr(training.run, "measure_before", None)  # a resumed run has it, though it is empty
    train(parts, f"resume={parts}")
    assert lines(parts / "metrics.jsonl") == lines(whole / "metrics.jsonl")
