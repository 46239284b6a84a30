"""What this machine can do: correctness on its device, the main job, and whole steps of large models.

    python benchmarks/gpu.py [part=<name>] [out=gpu.json]

Runs every part that is not in gpu.json yet, each in a process of its own and for at most ten minutes, and prints a
table. ``part=<name>`` runs that one again. A part that fails is recorded with its reason, and the others go on. Without
a CUDA device, the parts run at a size for 2 CPU cores and 24 GiB, or are left out. Needs no network.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from loupe.atomic import write_json
from loupe.runs.text import in_columns

SECONDS = 600
PHASES = ("prefill", "decode", "reward", "update", "optimizer")
IN_TABLE = ("picture tokens", "crop tokens", "GiB", "GiB computed", "seconds", "tokens/s")
UNITS = {"seconds": "s", "tokens/s": "tokens/s"}
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""By default glibc keeps much of what was freed, and a process without a GPU would seem to need it."""


@dataclass(frozen=True)
class Part:
    """A function of gpu_parts.py and its settings on a GPU and on a CPU. A text says why it is left out there."""

    function: str
    gpu: dict | str
    cpu: dict | str


def qwen(size: str, resolution: int, group: int = 8, tokens: int = 150, graphs: str = "auto", **more: int) -> dict:
    """The settings of two whole steps of a Qwen2.5-VL; the optimizer's moments are there from the second update on.

    graphs: ``rollout.fixed_shapes``. more: settings of ``algorithm``.
    """
    given = {"model": f"qwen2_5_vl_{size}_lora", "model.path": "null", "resolution": resolution}
    given |= {"algorithm.group_size": group, "trainer.max_steps": 2, "rollout.fixed_shapes": graphs}
    given |= {f"algorithm.{key}": value for key, value in more.items()}
    return {"overrides": [f"{key}={value}" for key, value in given.items()], "tokens": tokens, "size": size}


NO_CUDA = "needs a CUDA device"
NO_VLLM = "needs vLLM (pip install -r requirements-vllm.txt)"
NO_4_BIT = "needs the package bitsandbytes (pip install bitsandbytes)"
LARGE = {"overrides": ["model=qwen2_5_vl_3b_lora", "model.path=null"], "group_sizes": [8, 32], "lengths": [64, 256]}
SMALL = {"overrides": [], "group_sizes": [8], "lengths": [64]}
RUN = ["data.n_train=64", "data.n_test=16", "data.batch_size=2", "rollout.max_new_tokens=24"]
RUN_3B = ["model=qwen2_5_vl_3b_lora", "algorithm.optimizer.lr=3e-4", "resolution=448", *RUN]
FEW = ["trainer.max_steps=10", "trainer.val_check_interval=10", "data.n_val=32", "data.n_test=64"]
PARTS = {
    "environment": Part("environment", {}, {}),
    "exact, float32": Part("exact", {"precision": "float32"}, {"precision": "float32"}),
    "exact, bfloat16": Part("exact", {"precision": "bfloat16"}, {"precision": "bfloat16"}),
    "exact, CUDA graphs": Part("exact", {"precision": "bfloat16", "graphs": True}, NO_CUDA),
    "exact, efficient kernel": Part("exact", {"precision": "bfloat16", "efficient": True}, NO_CUDA),
    "main job": Part("main_job", {"overrides": []}, {"overrides": FEW}),
    "3b, 448 px": Part("large_step", qwen("3b", 448), qwen("3b", 448, group=2, tokens=48)),
    "3b, 448 px, no CUDA graphs": Part("large_step", qwen("3b", 448, tokens=36, graphs="false"), NO_CUDA),
    "3b, 672 px": Part("large_step", qwen("3b", 672), NO_CUDA),
    "3b, 1024 px": Part("large_step", qwen("3b", 1024), NO_CUDA),
    "3b, 1024 px, 16384 tokens": Part("large_step", qwen("3b", 1024, microbatch_tokens=16384), NO_CUDA),
    "3b, 1400 px": Part("large_step", qwen("3b", 1400), NO_CUDA),
    "7b, 1024 px": Part("large_step", qwen("7b", 1024), NO_CUDA),
    "3b in 4 bits, 1024 px": Part("large_step", qwen("3b", 1024) | {"four_bit": True}, NO_CUDA),
    "3b, a whole run": Part(
        "whole_run",
        {"overrides": RUN_3B, "steps": 24, "size": "3b"},
        {"overrides": ["model=tiny_random", "algorithm.optimizer.lr=1e-3", *RUN], "steps": 24},
    ),
    "packed and vLLM": Part("engines", LARGE, SMALL),
}


def settings_here(part: Part) -> dict | str:
    """The settings of a part on this machine, or why it is left out."""
    chosen = part.gpu if torch.cuda.is_available() else part.cpu
    if isinstance(chosen, dict) and chosen.get("four_bit") and importlib.util.find_spec("bitsandbytes") is None:
        return NO_4_BIT
    if part.function == "engines" and importlib.util.find_spec("vllm") is None:
        return NO_VLLM
    return chosen


def run(function: str, settings: dict) -> dict:
    """Run a part in a process of its own. Returns its record: its settings, what it found or why it failed, seconds."""
    begun = time.perf_counter()
    command = [sys.executable, str(Path(__file__).with_name("gpu_parts.py")), function, json.dumps(settings)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": os.environ | GIVE_BACK}
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            told = process.communicate(timeout=SECONDS)
            result = outcome(subprocess.CompletedProcess(command, process.returncode, *told))
        except subprocess.TimeoutExpired:
            result = {"failed": f"took longer than {SECONDS} s"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # also the commands that the part has started
    return {"settings": settings, **result, "took": time.perf_counter() - begun}


def outcome(done: subprocess.CompletedProcess) -> dict:
    """What a finished process found, or the last line of its traceback, all of which is printed."""
    if done.returncode == 0:
        return {"found": json.loads(done.stdout.splitlines()[-1])}
    if done.returncode < 0:
        return {"failed": f"killed by signal {-done.returncode}; the machine may be out of memory"}
    print(done.stderr, file=sys.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return {"failed": lines[-1][:300] if lines else f"exit status {done.returncode}"}


def table(records: dict[str, dict]) -> str:
    """One line for each part, and the numbers of the large steps side by side."""
    text = "\n".join(f"{name:<27}{record.get('took', 0):>5.0f} s  {told(record)}" for name, record in records.items())
    steps = {name: record["found"] for name, record in records.items() if "seconds" in record.get("found", {})}
    columns = [(key, None) for key in IN_TABLE[:4]] + [("seconds", phase) for phase in PHASES]
    columns += [("tokens/s", phase) for phase in ("prefill", "decode", "update")]
    rows = [["", *(f"{phase} {UNITS[key]}" if phase else key for key, phase in columns)]]
    for name, found in steps.items():
        values = (found[key][phase] if phase else found.get(key) for key, phase in columns)
        rows.append([name, *map(number, values)])
    return f"{text}\n\n{in_columns(rows)}" if steps else text


def told(record: dict) -> str:
    """A record in one line."""
    if "found" not in record:
        return ", ".join(f"{key}: {record[key]}" for key in ("failed", "left out") if key in record)
    return ", ".join(f"{key} {number(value)}" for key, value in record["found"].items() if key not in IN_TABLE)


def number(value: object) -> str:
    """Three digits of a float."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {number(one)}" for key, one in value.items()) + ")"
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> None:
    given = {"part": None, "out": "gpu.json"} | dict(argument.partition("=")[::2] for argument in arguments)
    if given.keys() != {"part", "out"} or given["part"] not in (None, *PARTS):
        sys.exit(f"error: {' '.join(arguments)}: give part=<name> and out=<file>; parts: {'; '.join(PARTS)}")
    out = Path(given["out"])
    records = json.loads(out.read_text()) if out.exists() else {}
    for name, part in PARTS.items():
        if name == given["part"] or (given["part"] is None and name not in records):
            settings = settings_here(part)
            print(f"{name} ...", file=sys.stderr, flush=True)
            records[name] = {"left out": settings} if isinstance(settings, str) else run(part.function, settings)
            write_json(out, {name: records[name] for name in PARTS if name in records})
    print(table(records))


if __name__ == "__main__":
    main(sys.argv[1:])
