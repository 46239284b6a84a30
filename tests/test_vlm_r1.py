"""VLM-R1 on files in the published form, with the tool and without it: one engine, one switch."""

import json

import published
import pytest
from conftest import compose_config
from helpers.commands import FEW

import evaluate as judging
import train as training

COMMAND = ["data=refcoco", "reward=iou", "model=tiny", "resolution=112", "data.n_val=2", "data.n_test=4"]
ALIKE = ["data.question='Where is the {expression}?'", "rollout.max_new_tokens=48"]  # as the miniature knows it


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return published.refcoco(tmp_path_factory.mktemp("refcoco") / "files")


@pytest.mark.parametrize("tool", ["none", "zoom"])
def test_it_trains_and_is_judged(files, tmp_path, tool):
    given = [*COMMAND, *FEW, *ALIKE, f"data.path={files}", f"tool={tool}", f"paths.output_dir={tmp_path}/run"]
    summary = training.train(compose_config(*given, "trainer.max_steps=2", "data.n_test=4"))
    assert summary["after"]["iou"]["all"]["mean"] > 0.3  # the base knows the first expression of each picture
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in steps if "loss" in row]
    assert len(steps) == 2
    assert all({"reward/iou", "reward/format", "bad_box/reversed", "think/words"} <= set(row) for row in steps)
    asked = [*given[:-1], "evaluate.conditions=[greedy]", f"paths.output_dir={tmp_path}/judged"]
    greedy = judging.evaluate(compose_config(*asked, name="evaluate"))["conditions"]["greedy"]
    assert greedy["iou"]["all"] == pytest.approx(summary["before"]["iou"]["all"])
    assert greedy["score"]["all"] == summary["before"]["score"]["all"]
    assert greedy["iou"]["all"]["low"] <= greedy["iou"]["all"]["mean"] <= greedy["iou"]["all"]["high"]


@pytest.mark.slow
def test_without_thinking_the_answer_comes_at_once(tmp_path):
    few = [setting for setting in FEW if not setting.startswith(("data.n_", "data.num"))]
    given = ["data=boxes", "reward=iou", "tool=none", "experiment=no_thinking", *few, "data.n_val=2", "data.n_test=8"]
    summary = training.train(compose_config(*given, "trainer.max_steps=1", f"paths.output_dir={tmp_path}"))
    assert summary["before"]["iou"]["all"]["mean"] > 0.1
    row = json.loads((tmp_path / "trajectories.jsonl").read_text().splitlines()[0])
    assert row["turns"][0].startswith("<answer>[") and row["term/format"] == 0
    assert row["reward"] == row["term/iou"]
