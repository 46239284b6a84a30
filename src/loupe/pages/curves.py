"""The curves of a run's page, from its logged steps (``logs.history``)."""

import re

from loupe.records import TrajectoryType
from loupe.runs.palette import parts

MOST_POINTS = 1000
"""Of a curve; a longer one is thinned evenly, ends included."""
STATISTICS = ("mean", "q05", "q25", "q75", "q95", "share")
PANELS = {
    "Score on validation questions": (r"val/score/([^/]+)", True),
    "Zoom rate on validation questions": (r"val/zoom_rate/([^/]+)", True),
    "Score in training": (r"score/([^/]+)", True),
    "Zoom rate in training": (r"zoom_rate/([^/]+)", True),
    "Reward and its terms": (r"reward/([^/]+)", False),
    "Groups whose rewards are all equal": (r"(zero_variance_share)", True),
    "Failed calls, as a share": (r"failed_call_rate/([^/]+)", True),
    "Trajectories out of tokens": (r"stop/(out_of_tokens)", True),
    "Entropy (nats per token)": (r"(entropy)", False),
    "KL to the base": (r"(kl)", False),
    "Loss": (r"(loss)", False),
    "Loss on held-out lessons": (r"val/(loss)", False),
    "Gradient norm": (r"(grad_norm)", False),
}
"""Title -> (pattern of the keys, of which it names the curves; whether the values are shares)."""

SHORT = ("Score on validation questions", "Zoom rate on validation questions")


def charts(rows: list[dict]) -> list[dict]:
    """The panels that have any values. Smoothed are those of training steps, which are noisy."""
    return [
        {"title": title, "percent": percent, "smooth": not pattern.startswith("val/"), "curves": curves}
        for title, (pattern, percent) in PANELS.items()
        if (curves := _curves(rows, pattern))
    ]


def overlaid(runs: list[list[dict]]) -> list[dict]:
    """The panels ``SHORT`` of several runs on top of each other; the curves of a part of the questions share a name."""
    panels: dict[str, dict] = {}
    for rows in runs:
        for panel in charts(rows):
            if panel["title"] in SHORT:
                panels.setdefault(panel["title"], panel | {"curves": []})["curves"] += panel["curves"]
    return list(panels.values())


def side_by_side(runs: dict[str, list[dict]]) -> list[dict]:
    """A panel for each curve of ``charts``, in which it is drawn for every run, under the run's name."""
    panels: dict[str, dict] = {}
    for name, rows in runs.items():
        for panel in charts(rows):
            for curve in panel["curves"]:
                title = panel["title"] if len(panel["curves"]) == 1 else f"{panel['title']}: {curve['name']}"
                panels.setdefault(title, panel | {"title": title, "curves": []})["curves"].append(
                    curve | {"name": name}
                )
    return list(panels.values())


def _curves(rows: list[dict], pattern: str) -> list[dict]:
    keys = {found[1]: key for row in rows for key in row if (found := re.fullmatch(pattern, key))}
    names = list(reversed(parts(keys))) if "all" in keys else sorted(keys)
    return [{"name": name} | _series(rows, keys[name]) for name in names]


def _series(rows: list[dict], key: str) -> dict:
    present = thinned([row for row in rows if key in row])
    return {"steps": [row["step"] for row in present], "values": [row[key] for row in present]}


def advantages(rows: list[dict]) -> dict | None:
    """The advantage of each trajectory type over training (the figure of arXiv 2506.14821); None before any step.

    parts: for each part and type, ``STATISTICS`` over the steps, and ``counts`` between ``edges``; None where there are
    no such trajectories.
    """
    rows = thinned([row for row in rows if f"advantage/all/{TrajectoryType.NO_TOOL}/share" in row])
    if not rows:
        return None
    names = reversed(parts(key.split("/")[1] for row in rows for key in row if key.startswith("advantage/")))
    kinds = [kind.value for kind in TrajectoryType]
    hists = (hist for row in rows for kind in kinds if (hist := row.get(f"advantage/all/{kind}/hist")))
    edges: list[float] = next((hist["edges"] for hist in hists), [])
    return {
        "steps": [row["step"] for row in rows],
        "parts": {name: {kind: _distributions(rows, f"advantage/{name}/{kind}") for kind in kinds} for name in names},
        "edges": edges,
    }


def _distributions(rows: list[dict], prefix: str) -> dict[str, list]:
    found: dict[str, list] = {key: [row.get(f"{prefix}/{key}") for row in rows] for key in STATISTICS}
    return found | {"counts": [(row.get(f"{prefix}/hist") or {}).get("counts") for row in rows]}


def thinned(rows: list[dict]) -> list[dict]:
    """At most ``MOST_POINTS`` of the rows, evenly spaced, the first and the last among them."""
    if len(rows) <= MOST_POINTS:
        return rows
    return [rows[i * (len(rows) - 1) // (MOST_POINTS - 1)] for i in range(MOST_POINTS)]
