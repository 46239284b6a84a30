"""The project's main command on files in the published format: it trains, resumes and is evaluated."""

import json
import subprocess
import sys
import time

import published
import pytest
from conftest import compose_config
from helpers.commands import FEW, ROOT

import evaluate as judging
import train as training
from loupe.evaluation.journal import read_parquet
from loupe.models.load import load_policy

COMMAND = ["reward=composite", "crop=400", "data=textvqa", "model=tiny", "resolution=112"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return published.textvqa_parquet(tmp_path_factory.mktemp("textvqa"))


ADAPTER = ["model.lora={r: 4, alpha: 8}", "model.train_vision=false"]


@pytest.mark.parametrize("adapter", [ADAPTER, pytest.param([], marks=pytest.mark.slow)])
def test_it_trains_resumes_and_is_evaluated(files, tmp_path, adapter):
    given = [*COMMAND, *FEW, *adapter, f"data.path={files}"]
    run = tmp_path / "run"
    first = training.train(compose_config(*given, "trainer.max_steps=2", f"paths.output_dir={run}"))
    more = training.train(compose_config(*given, "trainer.max_steps=3", f"resume={run}"))
    assert more["before"] == first["before"]
    assert first["before"]["score"]["all"]["mean"] > 0  # the miniature knows the questions of these files
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if "loss" in row] == [1, 2, 3]
    assert load_policy(str(run / "model")).has_adapter == bool(adapter)

    judged = tmp_path / "judged"
    asked = [*given, f"model.path={run / 'model'}", "evaluate.conditions=[greedy,direct]", f"paths.output_dir={judged}"]
    asked = [setting for setting in asked if setting not in adapter]
    figures = judging.evaluate(compose_config(*asked, name="evaluate"))
    greedy, direct = (figures["conditions"][name] for name in ("greedy", "direct"))
    assert greedy["score"]["all"] == more["after"]["score"]["all"]
    assert "score_leave_one_out" in greedy and "unanswered" in direct
    assert all(row["id"].startswith("textvqa/") for row in read_parquet(judged / "answers.parquet"))


@pytest.mark.slow
def test_without_the_hub_it_fails_at_once(tmp_path):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "src/train.py", *COMMAND[:3], f"paths.output_dir={tmp_path}"],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "data: cannot be loaded from the hub" in done.stderr and "give data.path=<folder" in done.stderr
    assert time.perf_counter() - began < 60
