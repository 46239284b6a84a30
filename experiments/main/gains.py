"""What each trained policy gained over the base and over the prompted tool, question by question: gains.csv.

python experiments/main/gains.py outputs/main        # from the runs of python src/train.py -m experiment=main
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from loupe.errors import UserError
from loupe.evaluation.figures import paired
from loupe.jsonl import TRAJECTORIES, read_rows
from loupe.studies import record
from loupe.sweeps import flat, job_rows

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


def gains(before: list[dict], after: list[dict]) -> dict[str, float]:
    """The mean difference of the scores in all and by subset, with its 95% interval over questions."""
    report = {}
    for part in ("all", *sorted({row["subset"] for row in after if row["subset"]})):
        asked = [row for row in after if part in ("all", row["subset"])]
        report[part] = asdict(paired(before, asked, lambda one, other: other - one))
    return flat(report)


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
        | gains(before, answers(out / job["job"], "after"))
        for name, before in untrained.items()
        for job in jobs
    ]


if __name__ == "__main__":
    record(rows(Path(sys.argv[1])), HERE / "gains.csv")
