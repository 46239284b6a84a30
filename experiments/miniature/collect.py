"""From the runs of run.sh to results.csv: a row a run, against the base on the same held-out pictures.

python experiments/miniature/collect.py outputs/miniature
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

from loupe.logs.history import history
from loupe.studies import tables as studies
from loupe.studies.tables import ends, figures, greedy, judged_runs, made_from, record

HERE = Path(__file__).resolve().parent


def gains(base: Path, judged: Path) -> dict[str, float]:
    """What the greedy score rose by, question by question, with its 95% interval."""
    found = studies.gains(greedy(base), greedy(judged))
    report = {}
    for part in ("small", "large", "all"):
        report |= ends(f"gain_{part}", found[part])
    return report


def advantages(run: Path) -> dict[str, float]:
    """Differences between the mean advantages of trajectory types, over the steps at which both occurred."""
    rows = history(run)

    def gap(prefix: str, one: str, other: str) -> tuple[float, float]:
        pairs = [(row.get(f"{prefix}/{one}/mean"), row.get(f"{prefix}/{other}/mean")) for row in rows]
        gaps = [a - b for a, b in pairs if a is not None and b is not None]
        return (fmean(gaps), fmean(g > 0 for g in gaps)) if gaps else (float("nan"), float("nan"))

    report = {}
    for name, prefix, other in [
        ("success_over_fail", "advantage", "tool_fail"),
        ("success_over_no_tool_small", "advantage_small", "no_tool"),
        ("success_over_no_tool_large", "advantage_large", "no_tool"),
    ]:
        report[f"adv_{name}"], report[f"adv_{name}_steps"] = gap(prefix, "tool_success", other)
    return report


def base_of(run: Path) -> Path:
    """The base as it was asked: at the same resolution, with crops of the same pixels."""
    settings = [name for name in ("res84", "pixels_shown") if name in run.name]
    return run.parent / "_".join(["base", *settings])


def row(run: Path) -> dict:
    """One run: its gains, its figures under every condition, its time. A base has only its figures."""
    trained = (run / "judged").exists()
    judged = run / "judged" if trained else run
    parts = figures(judged / "evaluation.json")["parts"]
    report = {"run": run.name, "n": parts["all"]["score/greedy"]["n"], "n_small": parts["small"]["score/greedy"]["n"]}
    if trained:
        report |= made_from(run) | gains(base_of(run), judged)
    for condition in ("greedy", "sampled", "no_tool", "shuffled"):
        for part in ("small", "large", "all"):
            report[f"{condition}_{part}"] = parts[part][f"score/{condition}"]["mean"]
    for part in ("small", "large"):
        for decoding in ("greedy", "sampled"):
            report[f"zoom_rate_{decoding}_{part}"] = parts[part][f"zoom_rate/{decoding}"]
    report["zoom_hit_rate_small"] = parts["small"]["zoom_hit_rate/greedy"]
    for decoding in ("greedy", "sampled"):
        report[f"failed_call_rate_{decoding}"] = parts["all"][f"failed_call_rate/{decoding}"]
    report |= {f"{name}_small": parts["small"][name]["mean"] for name in ("tool_gain", "tool_harm")}
    return report | (advantages(run) if trained else {})


if __name__ == "__main__":
    record([row(run) for run in judged_runs(Path(sys.argv[1]))], HERE / "results.csv")
