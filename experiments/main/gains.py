"""What each trained policy gained over the base and over the prompted tool, question by question: gains.csv.

python experiments/main/gains.py outputs/main        # from the runs of python src/train.py -m experiment=main
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from loupe.errors import UserError
from loupe.logs.jsonl import TRAJECTORIES, read_rows
from loupe.metrics.intervals import flat
from loupe.runs.sweeps import job_rows
from loupe.studies.tables import gains, record

HERE = Path(__file__).resolve().parent
YARDSTICKS = {"base": "none", "prompted tool": "zoom"}
"""The same untrained policy, asked without and with the tool."""


def answers(run: Path, when: str) -> list[dict]:
    """The greedy answers to the held-out questions, before or after training."""
    told = [row for row in read_rows(run / TRAJECTORIES) if row["split"] == when]
    return [
        {"id": row["id"], "subset": row["subset"], "score": row["terms"]["hard"], "cluster": None, "cycle": None}
        for row in told
    ]


def rows(out: Path) -> list[dict]:
    """A row for each run and yardstick; raises UserError if there is no run with and without the tool."""
    jobs = job_rows(out)
    untrained = {}
    for name, tool in YARDSTICKS.items():
        runs = [job for job in jobs if job["tool"] == tool]
        if not runs:
            raise UserError(f"{out}: no finished run with tool={tool}; run python src/train.py -m experiment=main")
        untrained[name] = answers(out / runs[0]["job"], "before")  # the same for every seed
    return [
        {"job": job["job"], "tool": job["tool"], "seed": job["seed"], "over": name}
        | flat({part: asdict(gain) for part, gain in gains(before, answers(out / job["job"], "after")).items()})
        for name, before in untrained.items()
        for job in jobs
    ]


if __name__ == "__main__":
    record(rows(Path(sys.argv[1])), HERE / "gains.csv")
