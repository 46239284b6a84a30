"""What each trained policy gained over the base and over the prompted tool, question by question: gains.csv.

python experiments/main/gains.py outputs/main        # from the runs of python src/train.py -m experiment=main
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from loupe.intervals import bootstrap
from loupe.jsonl import TRAJECTORIES, read_rows
from loupe.studies import record
from loupe.sweeps import collect, flat

HERE = Path(__file__).resolve().parent
YARDSTICKS = {"base": "none", "prompted tool": "zoom"}
"""The same untrained policy, asked without and with the tool."""


def answers(run: Path, when: str) -> dict[str, dict]:
    """The greedy answers to the held-out questions, by question."""
    return {row["id"]: row for row in read_rows(run / TRAJECTORIES) if row["split"] == when}


def gains(before: dict[str, dict], after: dict[str, dict]) -> dict[str, float]:
    """The mean difference of the scores in all and by subset, with its 95% interval over questions."""
    parts = ["all", *sorted({row["subset"] for row in before.values() if row["subset"]})]
    report = {}
    for part in parts:
        asked = [question for question, row in before.items() if part in ("all", row["subset"])]
        differences = [after[question]["terms"]["hard"] - before[question]["terms"]["hard"] for question in asked]
        report[part] = vars(bootstrap(differences))
    return flat(report)


def rows(out: Path) -> list[dict]:
    """A row for each run and yardstick."""
    jobs = {(row["tool"], str(row["seed"])): out / row["job"] for row in collect(out)}
    first = min(seed for _, seed in jobs)
    return [
        {"job": run.name, "tool": tool, "seed": seed, "over": name}
        | gains(answers(jobs[untrained, first], "before"), answers(run, "after"))
        for name, untrained in YARDSTICKS.items()
        for (tool, seed), run in jobs.items()
    ]


if __name__ == "__main__":
    record(rows(Path(sys.argv[1])), HERE / "gains.csv")
