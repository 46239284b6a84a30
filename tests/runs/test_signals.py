"""A signal at any time ends a command with a line, a nonzero status, and whatever can be resumed.

tests/faults/test_stopped.py sends each signal in every phase of a run.
"""

import signal
import subprocess
import sys
import time

import pytest
from helpers.commands import ROOT, SMALL

QUICK = [
    *("model=tiny_random", "rollout.max_new_tokens=6", "threads=1", "logger=none"),
    *("trainer.enable_progress_bar=false", "evaluate.conditions=[greedy]", "evaluate.n=5000"),
]


def stopped(command, number, ready):
    """Start a command, wait until ``ready()``, send it a signal; returns its status and what it printed."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    return process.returncode, printed


def test_during_the_evaluation_before_training(tmp_path):
    command = ["src/train.py", *SMALL, "logger=none", "data.n_test=5000", f"paths.output_dir={tmp_path}"]
    status, printed = stopped(command, signal.SIGTERM, (tmp_path / "metrics.jsonl").exists)
    assert status == 1
    assert "stopped at once; there is no checkpoint to resume from yet" in printed


@pytest.mark.slow
def test_during_an_evaluation(tmp_path):
    command = ["src/evaluate.py", *QUICK, f"paths.output_dir={tmp_path}"]
    status, printed = stopped(command, signal.SIGTERM, (tmp_path / "answers.jsonl").exists)
    assert status == 1 and "stopped; to resume: python src/evaluate.py" in printed


@pytest.mark.slow
def test_ctrl_c_ends_a_whole_sweep(tmp_path):
    sweep = ["crop=200,400", "trainer.max_steps=200", f"paths.output_dir={tmp_path}"]
    command = ["src/train.py", "-m", *[s for s in SMALL if "max_steps" not in s], "logger=none", *sweep]
    started = lambda: any(path.read_text().count("\n") > 5 for path in tmp_path.glob("*/metrics.jsonl"))  # noqa: E731
    status, printed = stopped(command, signal.SIGINT, started)
    assert status == 1 and "to resume: python src/train.py" in printed
    assert len(list(tmp_path.glob("*/metrics.jsonl"))) == 1
