"""The advantages at every step by trajectory type and size of the sign, from the five seeds of experiments/miniature:
results.csv beside this file.

python experiments/advantages/collect.py outputs/miniature/{58071c86,58e26aab,50a1d4af,7abf70a5,0f79e654}
"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from loupe.logs.history import history
from loupe.records import TrajectoryType
from loupe.studies.tables import write

HERE = Path(__file__).resolve().parent
PARTS = ("all", "small", "large")


def rows(run: Path) -> list[dict]:
    """One row per step, part and type: mean advantage (if any), count, and share of the part's trajectories."""
    seed = OmegaConf.load(run / "config.yaml").seed
    return [
        {"seed": seed, "step": step["step"], "part": part, "type": kind}
        | {name: step.get(f"advantage/{part}/{kind}/{name}") for name in ("mean", "count", "share")}
        for step in history(run)
        for part in PARTS
        for kind in TrajectoryType
        if f"advantage/{part}/{kind}/share" in step
    ]


if __name__ == "__main__":
    table = [row for run in sys.argv[1:] for row in rows(Path(run))]
    write(table, HERE / "results.csv")
    print(f"{len(table)} rows of {len(sys.argv) - 1} runs")
