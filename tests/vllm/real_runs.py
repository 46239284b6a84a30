"""Whole runs with the real engine: resume, Ctrl-C, killed engines, several processes, and an engine of two
(tests/vllm/run).
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = [
    *("rollout=vllm", "threads=1", "logger=none", "trainer.enable_progress_bar=false", "algorithm.group_size=2"),
    *("data.batch_size=2", "data.n_val=4", "data.n_test=4", "trainer.val_check_interval=2"),
]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "data.batch_size=1"]
"""Two processes with the questions that a single one has by SETTINGS."""
PATIENCE = 600
"""Seconds that a run may take to get somewhere."""


def start(*settings: str) -> subprocess.Popen:
    """A run in a process group of its own, as a terminal would start it."""
    command = [sys.executable, "src/train.py", *settings]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, start_new_session=True, **streams)


def processes(run: subprocess.Popen) -> dict[int, str]:
    """The processes of the session of ``run``, by id, with what each calls itself."""
    lines = subprocess.run(["ps", "-eo", "pid=,sid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(maxsplit=2) for line in lines.splitlines())
    return {int(pid): args for pid, sid, args in rows if int(sid) == run.pid}


def steps(folder: Path) -> int:
    """Training steps that the run has recorded."""
    path = folder / "metrics.jsonl"
    return sum('"learning_rate"' in line for line in path.read_text().splitlines()) if path.exists() else 0


def wait_for(condition, run: subprocess.Popen) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        if run.poll() is not None or time.monotonic() > until:
            sys.exit(f"BAD the run has ended or hangs:\n{run.communicate()[0]}")
        time.sleep(0.2)


def ended(run: subprocess.Popen) -> str:
    """What the run said until its end. Nothing of it may be left a few seconds later."""
    said = run.communicate(timeout=PATIENCE)[0]
    for _ in range(50):
        if not (left := processes(run)):
            return said
        time.sleep(0.2)
    sys.exit(f"BAD processes are left: {left}\n{said}")


def require(label: str, passed: bool, said: str) -> None:
    print(f"{'ok ' if passed else 'BAD'} {label}", flush=True)
    if not passed:
        sys.exit(said)


def check_interrupt(folder: Path) -> None:
    run = start(*SETTINGS, "trainer.max_steps=200", f"paths.output_dir={folder}")
    wait_for(lambda: steps(folder) >= 1, run)
    os.killpg(run.pid, signal.SIGINT)  # as Ctrl-C in a terminal: the engine's processes get it too
    said = ended(run)
    require("Ctrl-C: an orderly stop, no process left", "to resume:" in said and "Traceback" not in said, said)
    done = steps(folder)
    run = start(*SETTINGS, f"trainer.max_steps={done + 1}", f"resume={folder}")
    said = ended(run)
    require("resume: goes on and finishes", steps(folder) == done + 1 and (folder / "summary.json").exists(), said)


def check_killed_engine(folder: Path, *settings: str) -> None:
    """Kill the engine that was started last."""
    run = start(*SETTINGS, *settings, "trainer.max_steps=200", f"paths.output_dir={folder}")
    wait_for(lambda: steps(folder) >= 1, run)
    engine = max(pid for pid, args in processes(run).items() if "EngineCore" in args)
    os.kill(engine, signal.SIGKILL)
    said, done = ended(run), steps(folder)
    lines = [line for line in said.splitlines() if "error: " in line]
    told = len(lines) == 1 and lines[0].startswith("error: the process of the vLLM engine has ended")
    told = told and f"stopped after step {done}; to resume:" in said and run.returncode != 0
    require(f"{folder.name}: kill -9 of the engine: a line, and how to resume", told, said)
    require("... and a checkpoint", (folder / "checkpoints" / "last.ckpt").exists(), said)
    run = start(*SETTINGS, *settings, f"trainer.max_steps={done + 1}", f"resume={folder}")
    said = ended(run)
    require("resume after that", steps(folder) == done + 1 and (folder / "summary.json").exists(), said)


def check_killed_run(folder: Path, *settings: str) -> None:
    run = start(*SETTINGS, *settings, "trainer.max_steps=200", f"paths.output_dir={folder}")
    wait_for(lambda: steps(folder) >= 1, run)
    run.kill()
    ended(run)
    require(f"{folder.name}: kill -9 of the run, no process left", True, "")


def measured(folder: Path, *settings: str) -> list[dict[str, float]]:
    """The metrics of a run of three steps that do not depend on time."""
    run = start(*SETTINGS, *settings, "trainer.max_steps=3", f"paths.output_dir={folder}")
    said = ended(run)
    require(f"{folder.name}: finishes", run.returncode == 0, said)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kinds = ("reward", "score", "advantage", "tokens/", "grad_norm", "val/")
    return [{key: value for key, value in row.items() if key.startswith(kinds)} for row in rows]


def check_several(folder: Path) -> None:
    """An engine for each of two processes, and one engine over two, give the run of one process with one engine."""
    expected = measured(folder / "one")
    for name, settings in (("two processes", TWO), ("an engine of two", ["rollout.gpus=2"])):
        found = measured(folder / name.replace(" ", "_"), *settings)
        require(f"{name}: the metrics of one", all(map(close, expected, found)) and len(expected) == len(found), name)


def close(x: dict[str, float], y: dict[str, float]) -> bool:
    numbers = [key for key, value in x.items() if isinstance(value, float)]
    return x.keys() == y.keys() and all(math.isclose(x[k], y[k], rel_tol=1e-4, abs_tol=1e-6) for k in numbers)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        check_interrupt(Path(name) / "interrupted")
        check_killed_engine(Path(name) / "killed")
        check_killed_engine(Path(name) / "killed_of_two", *TWO)
        check_killed_run(Path(name) / "gone")
        check_killed_run(Path(name) / "gone_engine_of_two", "rollout.gpus=2")
        check_killed_run(Path(name) / "gone_of_two", *TWO)
        check_several(Path(name))
