"""The advantages of every step by trajectory type and size of the sign, from the runs of experiments/miniature.

python experiments/advantages/collect.py outputs/miniature
"""

from __future__ import annotations

import sys
from pathlib import Path

from loupe.logs.history import history
from loupe.records import TrajectoryType
from loupe.studies.tables import write

HERE = Path(__file__).resolve().parent
PREFIXES = {"all": "advantage", "small": "advantage_small", "large": "advantage_large"}


def rows(run: Path) -> list[dict]:
    """A row for each step, subset and type: mean advantage (if any), count, share of the subset's trajectories."""
    seed = int(run.name.rpartition("_")[2])
    return [
        {"seed": seed, "step": step["step"], "subset": subset, "type": kind}
        | {name: step.get(f"{prefix}/{kind}/{name}") for name in ("mean", "count", "share")}
        for step in history(run)
        for subset, prefix in PREFIXES.items()
        for kind in TrajectoryType
        if f"{prefix}/{kind}/share" in step
    ]


if __name__ == "__main__":
    runs = sorted(Path(sys.argv[1]).glob("seed_*"))
    table = [row for run in runs for row in rows(run)]
    write(table, HERE / "results.csv")
    print(f"{len(table)} rows of {len(runs)} runs")
