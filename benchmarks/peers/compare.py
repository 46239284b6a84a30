"""A training step of Loupe beside one of TRL, over a grid of tasks.

    benchmarks/peers/.venv/bin/python benchmarks/peers/compare.py out=FILE [pairs=3] [threads=1] [points=TEXT]

``setup.sh`` makes the environment. Both sides train the same weights on the same pictures, prompts and rewards and
sample the same tokens (``task.py``); the comparison stops if their tokens, or the norms of their first gradients,
differ. Each side is a process of its own, and they take steps in turns. TRL's batch size in the update is tuned for
each model, resolution and tool with groups of 8. With one thread, time is CPU time, which other work on the machine
disturbs less.

Adds a line to FILE for every point that is not there yet, and prints the table of all of them: TRL's time divided by
Loupe's, median and range; in parentheses, the same of the floating-point operations; and the most memory above that
before the first step. points: only those whose name contains this text.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median

from recorder import RESULT
from task import Point

TRAJECTORIES = {("1.6M", 112): 128, ("1.6M", 448): 16, ("47M", 112): 16, ("47M", 448): 8}
"""In a step, by model and resolution; more if a single group is larger."""

GRID = [
    Point(size, resolution, zoom, group, max(1, count // group))
    for (size, resolution), count in TRAJECTORIES.items()
    for zoom in (False, True)
    for group in (4, 8, 16, 32)
]
ROWS = (4, 8, 16, 32, 64, 128)
"""TRL's batch sizes in the update that are tried."""

PHASES = ("rollout", "update", "step")
TOLERANCE = 0.01
"""Between the two norms of the first gradient, relative. Loupe bans some special tokens, TRL does not."""


class Worker:
    """One side, in a process that takes a step when it is told to."""

    def __init__(self, side: str, point: Point, threads: int, rows: int = 0):
        settings = json.dumps({"point": asdict(point), "threads": threads, "rows": rows})
        command = [sys.executable, str(Path(__file__).parent / f"with_{side}.py"), settings]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def step(self) -> dict:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._result()

    def finish(self) -> dict:
        """Its memory, in GiB."""
        self.process.stdin.close()
        found = self._result()
        self.process.wait()
        return found

    def _result(self) -> dict:
        for line in self.process.stdout:
            if line.startswith(RESULT):
                return json.loads(line.removeprefix(RESULT))
        sys.exit(f"error: {' '.join(self.process.args)} failed:\n{self.process.stderr.read()[-3000:]}")


@cache
def fastest_rows(size: str, resolution: int, zoom: bool, threads: int) -> int:
    """TRL's best batch size in the update, by the better of two steps with each."""
    point = next(p for p in GRID if (p.size, p.resolution, p.zoom, p.group) == (size, resolution, zoom, 8))
    total, took = point.questions * point.group, {}
    for rows in [rows for rows in ROWS if total // 8 <= rows <= total]:
        worker = Worker("trl", point, threads, rows)
        worker.step()
        took[rows] = min(worker.step()["step"] for _ in range(2))
        worker.finish()
    return min(took, key=took.get)


def compare(point: Point, pairs: int, threads: int) -> dict:
    """Seconds and operations of each phase, by side, and memory."""
    rows = fastest_rows(point.size, point.resolution, point.zoom, threads)
    sides = {"loupe": Worker("loupe", point, threads), "trl": Worker("trl", point, threads, rows)}
    first = {side: worker.step() for side, worker in sides.items()}
    require_equal(point, *first.values())
    took = {side: [] for side in sides}
    for number in range(pairs):
        for side in sorted(sides, reverse=bool(number % 2)):
            found = sides[side].step()
            took[side].append({phase: round(found[phase], 4) for phase in PHASES})
    memory = {side: worker.finish() for side, worker in sides.items()}
    flops = {side: first[side]["flops"] for side in sides}
    return asdict(point) | {"threads": threads, "rows": rows, "seconds": took, "flops": flops, "memory": memory}


def require_equal(point: Point, one: dict, two: dict) -> None:
    if one["digest"] != two["digest"] or abs(one["norm"] / two["norm"] - 1) > TOLERANCE:
        sys.exit(f"error: {point.name}: the two sides do not compute the same: {one} {two}")


def ratios(record: dict, phase: str) -> list[float]:
    """TRL's time divided by Loupe's, of each pair of steps."""
    pairs = zip(record["seconds"]["trl"], record["seconds"]["loupe"], strict=True)
    return [trl[phase] / loupe[phase] for trl, loupe in pairs]


def row(record: dict) -> str:
    """A line of the table: the median ratios of time, with those of operations, and memory."""
    cells = [point_of(record).name]
    for phase in PHASES:
        found = ratios(record, phase)
        flops = record["flops"]["trl"][phase] / record["flops"]["loupe"][phase]
        spread = f" [{min(found):.2f}, {max(found):.2f}]" if phase == "step" else ""
        cells.append(f"{median(found):.2f}{spread} ({flops:.2f})")
    peaks = [record["memory"][side]["above_start"] for side in ("trl", "loupe")]
    cells.append(f"{peaks[0]:.2f} / {peaks[1]:.2f}")
    return f"| {' | '.join(cells)} |"


def table(records: list[dict]) -> str:
    """The grid in its order, as Markdown."""
    heads = ["", *PHASES, "GiB, TRL / Loupe"]
    order = sorted(records, key=lambda record: GRID.index(point_of(record)))
    return "\n".join([f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *map(row, order)])


def point_of(record: dict) -> Point:
    return Point(**{name: record[name] for name in asdict(Point())})


def main() -> None:
    settings = {"pairs": "3", "threads": "1", "points": ""} | dict(a.split("=", 1) for a in sys.argv[1:])
    out = Path(settings["out"])
    records = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = set(map(point_of, records))
    for point in GRID:
        if point not in done and settings["points"] in point.name:
            records.append(compare(point, int(settings["pairs"]), int(settings["threads"])))
            with out.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
            print(row(records[-1]), file=sys.stderr, flush=True)
    print(table(records))


if __name__ == "__main__":
    main()
