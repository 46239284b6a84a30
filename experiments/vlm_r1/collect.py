"""From the runs of run.sh to results.csv: a row a run, against the base on the same held-out pictures.

python experiments/vlm_r1/collect.py outputs/vlm_r1
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

from loupe.logs.history import history
from loupe.studies.tables import ends, figures, gain, greedy, judged_runs, made_from, record

HERE = Path(__file__).resolve().parent
SATURATED = 0.99


def base_of(run: Path) -> Path:
    """The base as it was asked: with the tool, without thinking, or neither."""
    kind = run.name.rpartition("_")[0]
    return run.parent / (f"base_{kind}" if kind in ("zoom", "no_thinking") else "base")


def course(run: Path) -> dict[str, float | None]:
    """What the training steps tell: format and IoU at the beginning and at the end, and what was thought."""
    steps = [row for row in history(run) if "loss" in row]
    first, last = steps[:5], steps[-5:]
    report = {}
    for name in ("reward/format", "reward/iou", "think/words", "think/unique_share", "zoom_rate"):
        for when, rows in (("first", first), ("last", last)):
            report[f"{name.rpartition('/')[2]}_{when}"] = fmean(row[name] for row in rows)
    well_formed = (row["step"] for row in steps if row["reward/format"] >= SATURATED)
    report["format_saturated_at"] = next(well_formed, None)
    related = [row["think/reward_correlation"] for row in steps if "think/reward_correlation" in row]
    report["think_reward_correlation"] = fmean(related) if related else None
    return report


def row(run: Path) -> dict:
    """One run: IoU and accuracy, what they rose by with 95% intervals, and its course."""
    trained = (run / "judged").exists()
    judged = run / "judged" if trained else run
    part = figures(judged / "evaluation.json")["parts"]["all"]
    report = {"run": run.name, "n": part["iou/greedy"]["n"]}
    for condition in ("greedy", "sampled"):
        report |= {f"{name}_{condition}": part[f"{name}/{condition}"]["mean"] for name in ("iou", "score")}
        report[f"no_box_{condition}"] = part[f"unanswered/{condition}"]
        report[f"zoom_rate_{condition}"] = part[f"zoom_rate/{condition}"]
    if not trained:
        return report
    report |= made_from(run)
    before, after = greedy(base_of(run)), greedy(judged)
    for name in ("iou", "score"):
        report |= ends(f"gain_{name}", gain(before, after, name))
    return report | course(run)


if __name__ == "__main__":
    record([row(run) for run in judged_runs(Path(sys.argv[1]))], HERE / "results.csv")
