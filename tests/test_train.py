"""The main job end to end, on rendered pictures, through the real transformers classes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import lightning
import pytest
import torch
from conftest import compose_config
from helpers.commands import ROOT, SMALL, VOWELS, lines, run
from PIL import Image

import train as entry
from loupe.errors import Interrupted, UserError
from loupe.grpo.module import GRPOModule
from loupe.models.load import load_policy


def command(*overrides):
    given = {override.partition("=")[0] for override in overrides}
    small = [setting for setting in SMALL if setting.partition("=")[0] not in given]
    done = subprocess.run(
        [sys.executable, "src/train.py", *overrides, *small], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The command as a user types it, W&B offline."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = command("reward=composite", "crop=400", "data=signs", "seed=3", f"paths.output_dir={folder}")
    return folder, done


def test_everything_of_a_run_lies_in_its_folder(first):
    folder, done = first
    present = {path.name for path in folder.iterdir()}
    assert present >= {
        *("config.yaml", "provenance.json", "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"),
        *("summary.json", "advantages.png", "model", "checkpoints", "wandb"),
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert Image.open(folder / "advantages.png").width > 500
    for told in (done.stdout, (folder / "train.log").read_text()):
        assert "held-out test" in told and "score/small" in told and "nothing was learned" in told


def test_the_summary(first):
    folder, _ = first
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["seed"] == 3
    assert summary["seconds"] > 0
    for when in ("before", "after"):
        assert summary[when].keys() >= {"score", "zoom_rate", "zoom_hit_rate", "failed_call_rate", "pixels", "n"}
        for metric in ("score", "zoom_rate"):
            assert set(summary[when][metric]) == {"all", "small", "large"}
        assert summary[when]["n"]["all"] == summary[when]["score"]["all"]["n"] == 6


def test_the_metrics(first):
    folder, _ = first
    rows = lines(folder / "metrics.jsonl")
    training = [row for row in rows if "loss" in row]
    assert [row["step"] for row in training] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "val/score/all" in row] == [0, 2, 4]
    for row in training:
        counts = [row[f"advantage/all/{kind}/count"] for kind in ("no_tool", "tool_success", "tool_fail")]
        assert sum(counts) == row["n/all"] == 6
        for kind in ("no_tool", "tool_success", "tool_fail"):
            assert (f"advantage/all/{kind}/mean" in row) == (row[f"advantage/all/{kind}/count"] > 0)
        assert {"reward/accuracy", "reward/soft", "reward/format", "reward/tool", "entropy", "grad_norm"} <= row.keys()
        assert not any(key.startswith("time/") for key in row)
    assert [row["step"] for row in lines(folder / "timing.jsonl")] == [1, 2, 3, 4]


def test_the_model_card(first):
    folder, done = first
    card = (folder / "model" / "README.md").read_text()
    assert "reward=composite crop=400 data=signs seed=3" in card
    assert "| n/all | 6 | 6 |" in card and "| zoom_hit_rate/all | - | - |" in card
    assert f"hf upload owner/name {folder / 'model'}" in done.stdout


def test_the_trajectories(first):
    rows = lines(first[0] / "trajectories.jsonl")
    assert {row["split"] for row in rows} == {"train", "val", "before", "after"}
    assert sum(row["split"] == "before" for row in rows) == 6
    assert all(row["question"].startswith("What number is on the") for row in rows)


def test_what_the_run_was_made_from(first):
    folder, _ = first
    provenance = json.loads((folder / "provenance.json").read_text())
    assert "crop=400" in provenance["command"]
    assert provenance["versions"]["torch"] == version("torch")
    assert "${" not in (folder / "config.yaml").read_text()


WITHOUT = """
import sys, lightning  # which imports matplotlib itself where that is installed
for gone in ("wandb", "datasets", "pandas", "matplotlib"):
    sys.modules |= dict.fromkeys([gone, *(name for name in sys.modules if name.startswith(f"{gone}."))])
sys.path.insert(0, "src")
import train
train.main()
"""


@pytest.mark.slow
def test_a_run_needs_neither_wandb_nor_what_draws_and_loads_tables(tmp_path):
    given = ["logger=none", f"paths.output_dir={tmp_path}", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *given], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "is not installed, so nothing is drawn" in done.stdout
    assert (tmp_path / "summary.json").exists() and not list(tmp_path.glob("*.png"))


def test_the_saved_model_can_be_trained_further(first, tmp_path):
    folder, _ = first
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    loaded = load_policy(str(folder / "model")).state_dict()
    assert all(torch.equal(loaded[name.removeprefix("policy.")], tensor) for name, tensor in best.items())
    assert run(tmp_path, f"model.path={folder / 'model'}", "trainer.max_steps=1")["after"]["n"]["all"] == 6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        run(tmp_path / name, f"seed={seed}")
    a, b, c = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "abc")
    assert a == b
    assert a != c


SNAPSHOTS = "trainer.callbacks=[{_target_: loupe.runs.snapshots.Snapshots, steps: [0, 3, 4]}]"


def snapshots(folder):
    """The weights of each snapshot, as they are in its file."""
    return {file.parent.name: file.read_bytes() for file in folder.glob("snapshots/*/*model.safetensors")}


class InterruptAfter(lightning.Callback):
    def __init__(self, step):
        self.step = step

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("step", "lora"),
    [
        (3, "{r: 4, alpha: 8}"),
        pytest.param(3, "null", marks=pytest.mark.slow),
        pytest.param(2, "null", marks=pytest.mark.slow),
    ],
    ids=["between validations, adapter", "between validations", "at a validation"],
)
def test_ctrl_c_saves_and_the_resumed_run_continues_exactly(tmp_path, monkeypatch, step, lora):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    overrides = [*VOWELS, f"model.lora={lora}", "algorithm.optimizer.lr=0.01", SNAPSHOTS]
    run(whole, *overrides)
    make = entry.build.build_trainer
    with monkeypatch.context() as patch:

        def with_interrupt(*arguments, **options):
            trainer = make(*arguments, **options)
            trainer.callbacks.append(InterruptAfter(step))
            return trainer

        patch.setattr(entry.build, "build_trainer", with_interrupt)
        with pytest.raises(Interrupted, match=rf"stopped after step {step}; to resume: python src/train\.py .*resume="):
            run(parts, *overrides)
    run(parts, *overrides, f"resume={parts}")
    rows = lines(whole / "metrics.jsonl")
    for resumed, expected in zip(lines(parts / "metrics.jsonl"), rows, strict=True):
        assert resumed == expected
    for name in ("before", "after"):
        figures = [json.loads((folder / "summary.json").read_text())[name] for folder in (whole, parts)]
        assert figures[0] == figures[1]
    assert [r["id"] for r in lines(parts / "trajectories.jsonl")] == [
        r["id"] for r in lines(whole / "trajectories.jsonl")
    ]
    assert any(row.get("grad_norm", 0) > 0 for row in rows)
    kept = snapshots(whole)
    assert kept == snapshots(parts) and set(kept) == {"step_0", "step_3", "step_4"} and len(set(kept.values())) == 3
    if lora == "null":
        last = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        loaded = load_policy(str(whole / "snapshots" / "step_4")).state_dict()
        assert all(torch.equal(loaded[name.removeprefix("policy.")], tensor) for name, tensor in last.items())


def test_the_last_step_is_validated_and_saved_whatever_the_interval_and_the_score(tmp_path):
    run(tmp_path, "trainer.max_steps=5", "trainer.val_check_interval=3")
    assert [row["step"] for row in lines(tmp_path / "metrics.jsonl") if "val/score/all" in row] == [0, 3, 5]
    best, last = (torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (3, 5)  # the score stays


@pytest.mark.slow
def test_a_finished_run_can_be_made_longer(tmp_path):
    """By its folder, its folder of checkpoints, or a file, also an earlier one; paths.output_dir follows."""
    run(tmp_path, "trainer.max_steps=2")
    for steps, name in [(3, ""), (4, "checkpoints"), (5, "checkpoints/last.ckpt"), (6, "checkpoints/previous.ckpt")]:
        cfg = compose_config(*SMALL, "logger=none", f"trainer.max_steps={steps}", f"resume={tmp_path / name}")
        assert Path(cfg.paths.output_dir) == tmp_path
        entry.train(cfg)
        rows = lines(tmp_path / "metrics.jsonl")
        assert [row["step"] for row in rows if "loss" in row] == list(range(1, steps + 1))
    assert [r["split"] for r in lines(tmp_path / "trajectories.jsonl")].count("after") == 6


@pytest.mark.slow
def test_a_failing_job_does_not_end_the_sweep(tmp_path):
    sweep = ["-m", "crop=200,big,400", *SMALL, "logger=none", f"paths.output_dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "src/train.py", *sweep], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    assert "crop=big: must be a whole number" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert [row["setting/crop"] for row in table(tmp_path)] == ["200", "400"]
    assert len(list(tmp_path.glob("*/summary.json"))) == 2


def test_ctrl_c_during_the_first_evaluation_says_so(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(GRPOModule, "test_step", interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        run(tmp_path)
    signal.signal(signal.SIGINT, before)
    assert "stopped at once; there is no checkpoint to resume from yet" in capsys.readouterr().out


def test_a_mistake_in_the_data_is_told_before_a_model_is_loaded(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=nowhere: no such file"):
        run(tmp_path / "run", "data=vqa", "data.path=nowhere", "model=qwen2_5_vl_3b", "model.path=nowhere/either")


def test_a_bad_setting_leaves_an_earlier_run_where_it_is(tmp_path):
    run(tmp_path, "trainer.max_steps=1")
    with pytest.raises(UserError, match="crop=0"):
        run(tmp_path, "crop=0")
    with pytest.raises(UserError, match=r"steps: 4 is beyond trainer\.max_steps=1; leave it out"):
        run(tmp_path, "trainer.max_steps=1", SNAPSHOTS)
    assert (tmp_path / "summary.json").exists()
    assert not (tmp_path / "previous-1").exists()


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_sets_the_first_aside(tmp_path):
    run(tmp_path, "seed=1")
    kept = (tmp_path / "metrics.jsonl").read_bytes()
    run(tmp_path, "seed=2")
    assert (tmp_path / "previous-1" / "metrics.jsonl").read_bytes() == kept
    assert len(lines(tmp_path / "metrics.jsonl")) == 7  # 4 steps, 3 validations


def table(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_jobs_of_a_multirun_do_not_touch_each_other(tmp_path):
    """Each job gives what it gives alone, in a folder and a W&B run of its own.

    What an experiment sweeps over is swept over, unless the command line says something else.
    """
    sweep = tmp_path / "sweep"
    study = ["-m", "experiment=reward/answer", "seed=3", "crop=200,400", "reward=composite,answer_only"]
    command(*study, f"paths.output_dir={sweep}")
    rows = table(sweep)
    assert {(row["setting/seed"], row["setting/reward.weights.tool"]) for row in rows} == {("3", "0")}
    assert [(row["setting/reward"], row["setting/crop"]) for row in rows] == [
        (reward, crop) for reward in ("answer_only", "composite") for crop in ("200", "400")
    ]
    jobs = [sweep / row["job"] for row in rows]
    found = [list((path / "wandb").glob("offline-run-*/*.wandb")) for path in jobs]
    assert [len(files) for files in found] == [1, 1, 1, 1]
    run(tmp_path / "alone", "experiment=reward/answer", "seed=3", "crop=400", "reward=answer_only")
    assert (jobs[1] / "metrics.jsonl").read_bytes() == (tmp_path / "alone" / "metrics.jsonl").read_bytes()
    written = [(job / "metrics.jsonl").stat().st_mtime_ns for job in jobs]
    shutil.rmtree(jobs[2])
    done = command(*study, f"paths.output_dir={sweep}", "threads=2")
    assert done.stdout.count("already finished") == 3  # only the one that is missing is run again
    again = [(job / "metrics.jsonl").stat().st_mtime_ns for job in jobs]
    assert [before == after for before, after in zip(written, again, strict=True)] == [True, True, False, True]
    assert [row["setting/threads"] for row in table(sweep)] == ["1", "1", "2", "1"]  # as each was run


def test_threads_are_set_for_the_job_and_set_back(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(entry.run, "evaluate", lambda *_: seen.append(torch.get_num_threads()) or {})
    run(tmp_path, "threads=2", "trainer.max_steps=1")
    assert seen == [2, 2]
    assert torch.get_num_threads() == 1


def test_the_miniature_has_something_to_learn_from(tmp_path):
    """The defaults for a few steps: all kinds of trajectories, rewards that differ, and the figures one looks at."""
    few = ["trainer.max_steps=3", "data.batch_size=4", "data.n_val=8", "data.n_test=16", "threads=1", "logger=none"]
    summary = entry.train(compose_config(*few, "trainer.enable_progress_bar=false", f"paths.output_dir={tmp_path}"))
    assert summary["before"]["score"]["all"]["mean"] > 0.1
    steps = [row for row in lines(tmp_path / "metrics.jsonl") if "loss" in row]
    for kind in ("no_tool", "tool_success", "tool_fail"):
        assert sum(row[f"advantage/all/{kind}/count"] for row in steps) > 0
    for row in steps:
        assert row["zero_variance_share"] < 0.5 and row["grad_norm"] > 0 and row["ratio/logprob_gap"] < 1e-4
    for name in ("learning.png", "advantages.png", "example.png"):
        assert Image.open(tmp_path / name).width > 500


@pytest.mark.parametrize(("rate", "learns"), [(0.01, True), pytest.param(0.0, False, marks=pytest.mark.slow)])
def test_grpo_raises_a_reward_that_random_weights_can_earn(tmp_path, rate, learns):
    """The share of vowels, from about a quarter; and no gain without a learning rate."""
    size = ["trainer.max_steps=25", "data.batch_size=4", "algorithm.group_size=8", "rollout.max_new_tokens=12"]
    run(tmp_path, *VOWELS, *size, "trainer.val_check_interval=25", f"algorithm.optimizer.lr={rate}")
    earned = [row["reward/dense"] for row in lines(tmp_path / "metrics.jsonl") if "loss" in row]
    gain = sum(earned[-5:]) / 5 - sum(earned[:5]) / 5
    assert gain > 0.25 if learns else abs(gain) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0, 4.0])
def test_a_killed_run_continues_from_its_last_validation(tmp_path, seconds):
    """kill -9 some time after the first checkpoint; the resumed run ends in the same bytes as an undisturbed one."""
    overrides = [*VOWELS, "trainer.max_steps=40", "algorithm.optimizer.lr=0.003", "logger=none"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    start = [sys.executable, "src/train.py", *SMALL, *overrides]
    subprocess.run([*start, f"paths.output_dir={whole}"], cwd=ROOT, env=environment, check=True, capture_output=True)
    process = subprocess.Popen([*start, f"paths.output_dir={killed}"], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while not (killed / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(seconds)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    again = [*start, f"resume={killed}"]
    subprocess.run(again, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_run_whose_validations_are_turned_off_ends_with_the_weights_of_its_last_step(tmp_path):
    summary = run(tmp_path, "trainer.max_steps=1", "+trainer.limit_val_batches=0")
    assert summary["best_val_score"] is None and summary["after"]["n"]["all"] == 6
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_run_that_resumes_before_its_best_step_keeps_nothing_of_what_it_dropped(tmp_path):
    run(tmp_path)
    best, last, previous = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("best", "last", "previous"))
    shutil.copyfile(last, best)  # as if the last validation had been the best
    run(tmp_path, "trainer.max_steps=3", f"resume={previous}")
    assert torch.load(best, weights_only=True)["global_step"] == 3
