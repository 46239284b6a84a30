"""The advantages at every step of some runs by trajectory type and size of the sign: results.csv in a folder.

python experiments/advantages/collect.py outputs/advantages outputs/mine/*/
"""

import sys
from pathlib import Path

from omegaconf import OmegaConf

from loupe.logs.history import history
from loupe.records import TrajectoryType
from loupe.studies.tables import write

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
    folder, *runs = map(Path, sys.argv[1:] or ["."])
    if not runs or (folder / "config.yaml").exists():
        sys.exit("usage: python experiments/advantages/collect.py FOLDER_FOR_THE_TABLE RUN [RUN ...]")
    table = [row for run in runs for row in rows(run)]
    if len({row["seed"] for row in table}) < len(runs):
        sys.exit("error: several of these runs have the same seed; give those of one condition")
    folder.mkdir(parents=True, exist_ok=True)
    write(table, folder / "results.csv")
    print(f"{folder / 'results.csv'}: {len(table)} rows of {len(runs)} runs")
