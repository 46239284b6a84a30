"""A whole run of a model with random weights, by the commands that a user types: a training that is interrupted and
resumed, then an evaluation of what it saved.

Random weights cannot read signs, so the reward is something that they can learn: :func:`even`. The score stays 0, and
nothing is to be chosen by it: there are no validation questions, and the last weights are saved.
"""

import os
import signal
import subprocess
import sys
import time
from itertools import compress
from pathlib import Path
from statistics import fmean, median

from loupe.data.datamodule import LoupeDataModule
from loupe.data.signs import signs_datamodule
from loupe.logs.rows import METRICS, TIMING, read_rows
from loupe.paths import PROJECT
from loupe.records import Group, Trajectory

ENDS = 5
"""Steps at either end of a training over which its reward is averaged."""
GAIN = 0.1
"""By how much the reward must have risen at the end."""
TASK = ["+reward.terms.even=whole_run.even", "+reward.weights.even=1", "data._target_=whole_run.without_validation"]


def without_validation(**settings: object) -> LoupeDataModule:
    """The rendered signs without validation questions."""
    data = signs_datamodule(**settings)
    data.val = None
    return data


def even(trajectory: Trajectory, group: Group) -> float:
    """The share of sampled tokens whose id is even."""
    return sum(token % 2 == 0 for token in compress(trajectory.ids, trajectory.sampled)) / trajectory.n_sampled


def interrupted_and_resumed(folder: Path, overrides: list[str], steps: int) -> dict:
    """Train, interrupt the run halfway, resume it, and evaluate its model. overrides: of all commands.

    Raises RuntimeError where a command fails, where steps are missing or repeated, and where the saved model has not
    learned what the training rewards.
    """
    run, judged = folder / "run", folder / "judged"
    common = [*TASK, "logger=none", "trainer.enable_progress_bar=false", *overrides]
    process = started("train", f"trainer.max_steps={steps}", f"paths.output_dir={run}", *common)
    while process.poll() is None and len(training(run)) < steps // 2:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[0]
    if process.returncode != 1 or "to resume: python src/train.py" not in told:
        raise RuntimeError(f"the interrupted training ended with status {process.returncode}: {told[-2000:]}")
    interrupted = len(training(run))
    finished(started("train", f"resume={run}"))
    history = training(run)
    if [row["step"] for row in history] != list(range(1, steps + 1)):
        raise RuntimeError(f"steps {[row['step'] for row in history]} instead of 1 to {steps}")
    options = [f"model.path={run / 'model'}", "evaluate.conditions=[sampled]", f"paths.output_dir={judged}"]
    finished(started("evaluate", *common, *options))
    shares = [row["term/even"] for question in rows(judged / "answers.jsonl") for row in question["rows"]]
    rewards = [row["reward/even"] for row in history]
    reward = {"first": fmean(rewards[:ENDS]), "last": fmean(rewards[-ENDS:]), "evaluated": fmean(shares)}
    if min(reward["last"], reward["evaluated"]) < reward["first"] + GAIN:
        raise RuntimeError(f"rewards {reward}: not learned, or not saved")
    gaps = [row["ratio/logprob_gap"] for row in history if "ratio/logprob_gap" in row]  # none without advantages
    return {
        "steps before the interrupt": interrupted,
        "reward": reward,
        "largest ratio/logprob_gap": max(gaps),
        "seconds of a step": median(row["time/step"] for row in rows(run / TIMING)),
    }


def training(run: Path) -> list[dict]:
    """The rows of the training steps so far."""
    return [row for row in rows(run / METRICS) if "grad_norm" in row]


def rows(path: Path) -> list[dict]:
    """The rows of a file that is being written, none if it does not exist yet."""
    return read_rows(path) if path.exists() else []


def started(command: str, *arguments: str) -> subprocess.Popen:
    """``python src/<command>.py``, which finds this module."""
    places = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": PROJECT}
    line = [sys.executable, f"src/{command}.py", *arguments]
    return subprocess.Popen(line, env=os.environ | {"PYTHONPATH": places}, **options)


def finished(process: subprocess.Popen) -> None:
    """Wait for a command. Raises RuntimeError if it fails."""
    told = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{process.args[1:]} ended with status {process.returncode}: {told[-2000:]}")
