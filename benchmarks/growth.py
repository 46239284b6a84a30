"""How time and memory of a training step grow with its size, each axis by itself.

    python benchmarks/growth.py [repeats=3] [threads=1] [out=growth.png] > benchmarks/results/growth.txt

Scripted trajectories of the miniature, all with a zoom, grow along one axis at a time from 4 questions x 8 trajectories
at 112 px with 32 new tokens: trajectories per question, resolution, new tokens in the last turn, and questions in a
batch. Every point runs in a process of its own, so that its peak memory is its own. Prints a table with seconds
(median) of rollout and update and the peak memory (GiB), the exponent of each column over the last two points, and
draws it. "decode" is a decoding step of all trajectories, the mean over those of one turn without a zoom.
"""

import json
import math
import resource
import subprocess
import sys
from functools import partial
from statistics import median

import matplotlib.pyplot as plt
import step
import torch

START = {"group": 8, "resolution": 112, "tokens": 32, "questions": 4}
AXES = {
    "group": (2, 4, 8, 16, 32, 64),
    "resolution": (112, 224, 448),
    "tokens": (32, 128, 512),
    "questions": (2, 4, 8, 16, 32),
}
COLUMNS = ("rollout", "update", "decode", "GiB")


def measure(point: dict, repeats: int) -> dict[str, float]:
    """Seconds of each phase at one point, and the peak memory of this process."""
    size, group = point["questions"], point["group"]
    module, rollouts, examples = step.build(size, group, budget=16384, overrides=[f"resolution={point['resolution']}"])
    rollout = rollouts["shared"]
    call, filled = rollout._ids(step.zoom([30, 40])), partial(step.filled, module.policy.tokenizer)
    long = filled(rollout._ids("<answer>1</answer>"), point["tokens"])
    took: dict[str, list[float]] = {name: [] for name in COLUMNS[:3]}
    for _ in range(repeats):
        rollout.script, rollout.max_new_tokens = [[call, long]] * group, max(len(call), len(long))
        took["rollout"].append(step.seconds(step.shared_rollout, rollout, examples, group))
        groups = step.shared_rollout(rollout, examples, group)
        took["update"].append(step.seconds(step.shared_update, module, groups))
        rollout.script, ends = [[filled([], point["tokens"])]] * group, []
        for rollout.max_new_tokens in (1, point["tokens"]):
            ends.append(step.seconds(step.shared_rollout, rollout, examples, group))
        took["decode"].append((ends[1] - ends[0]) / (point["tokens"] - 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {name: median(seconds) for name, seconds in took.items()} | {"GiB": peak}


def exponents(sizes: tuple, rows: list[dict]) -> dict[str, float]:
    """The power of the size with which each column grows, between the last two points."""
    growth = math.log(sizes[-1] / sizes[-2])
    return {name: math.log(rows[-1][name] / rows[-2][name]) / growth for name in COLUMNS}


def table(found: dict[str, list[dict]]) -> str:
    lines = [f"{'':<16}" + "".join(f"{name:>10}" for name in COLUMNS)]
    for axis, rows in found.items():
        for size, row in zip(AXES[axis], rows, strict=True):
            lines.append(f"{axis + ' ' + str(size):<16}" + "".join(f"{row[name]:>10.4f}" for name in COLUMNS))
        lines.append(f"{'  exponent':<16}" + "".join(f"{x:>10.2f}" for x in exponents(AXES[axis], rows).values()))
    return "\n".join(lines)


def draw(found: dict[str, list[dict]], out: str) -> None:
    """One panel per axis, time on a logarithmic scale."""
    figure, panels = plt.subplots(1, len(found), figsize=(4 * len(found), 3.2), layout="constrained")
    for panel, (axis, rows) in zip(panels, found.items(), strict=True):
        for name in COLUMNS:
            panel.loglog(AXES[axis], [row[name] / rows[0][name] for row in rows], marker="o", label=name)
        panel.loglog(AXES[axis], [size / AXES[axis][0] for size in AXES[axis]], ":", color="gray", label="linear")
        panel.set(xlabel=axis, ylabel=f"times that of {AXES[axis][0]}")
        panel.set_xticks(AXES[axis], list(map(str, AXES[axis])), minor=False)
        panel.set_xticks([], minor=True)
    panels[0].legend()
    figure.savefig(out, dpi=100)


def main() -> None:
    settings = {"repeats": "3", "threads": "1", "out": "growth.png"} | dict(a.split("=", 1) for a in sys.argv[1:])
    if "point" in settings:
        torch.set_num_threads(int(settings["threads"]))
        print(json.dumps(measure(json.loads(settings["point"]), int(settings["repeats"]))))
        return
    found: dict[str, list[dict]] = {}
    for axis, sizes in AXES.items():
        for size in sizes:
            point = f"point={json.dumps(START | {axis: size})}"
            command = [sys.executable, __file__, point, *(f"{key}={settings[key]}" for key in ("repeats", "threads"))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.setdefault(axis, []).append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{torch.get_num_threads()} cores, {settings['threads']} threads, {settings['repeats']} repeats")
    print(table(found))
    draw(found, settings["out"])


if __name__ == "__main__":
    main()
