"""Metrics of rollouts: advantages by trajectory type, rewards, stop reasons, lengths, thoughts. Pure functions."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import correlation, fmean

import numpy as np

from loupe.metrics.intervals import flat
from loupe.metrics.rows import Rows
from loupe.metrics.summary import by_part, summarize
from loupe.records import OK, Group, StopReason, Trajectory, TrajectoryType
from loupe.rewards.boxes import BoxError
from loupe.tags import tagged
from loupe.tools.errors import CallError

EDGES = np.linspace(-3, 3, 25)
"""Bins of the advantage histograms, the same at every step so that they can be stacked."""

QUANTILES = (5, 25, 50, 75, 95)
"""In percent."""


@dataclass(frozen=True)
class Histogram:
    """counts[i] values lie between edges[i] and edges[i + 1]; there is one more edge than there are counts."""

    counts: list[int]
    edges: list[float]


def advantage_metrics(groups: list[Group]) -> dict[str, float | Histogram]:
    """The distribution of advantages for each trajectory type (the figure of arXiv 2506.14821).

    ``advantage/{part}/{type}/..``, for all questions and each subset: mean, std (population), quantiles, hist, count,
    and share of the part's trajectories. A type without trajectories has only count and share. Raises UserError without
    trajectories.
    """
    report: dict[str, float | Histogram] = {}
    for part, members in by_part(groups, lambda group: group.example.subset).items():
        trajectories = [trajectory for group in members for trajectory in group.trajectories]
        for kind in TrajectoryType:
            prefix = f"advantage/{part}/{kind}"
            values = [trajectory.advantage for trajectory in trajectories if trajectory.type is kind]
            report |= {f"{prefix}/count": len(values), f"{prefix}/share": len(values) / len(trajectories)}
            if values:
                report |= {f"{prefix}/mean": fmean(values), f"{prefix}/std": float(np.std(values))}
                report |= {f"{prefix}/q{q:02}": float(np.quantile(values, q / 100)) for q in QUANTILES}
                report[f"{prefix}/hist"] = histogram(values)
    return report


def rollout_metrics(groups: list[Group], rows: Rows, tools: Iterable[str] = ()) -> dict[str, float]:
    """Scores, tool use, rewards, stop reasons and lengths of scored groups; means over trajectories.

    rows: the answer rows of these groups, which :func:`summarize` counts. Of trajectories that ``rollout.balance``
    begins, none counts but in ``zero_variance_share``. tools: the names of the tools. Reward terms are unweighted.
    ``entropy`` is a mean over sampled tokens, ``failed_call/{kind}`` and ``bad_box/{kind}`` are counts. Left out where
    undefined: ``zoom_hit_rate``, ``right_and_hit``, and ``zero_variance_share`` (groups whose rewards are all equal)
    for groups of one. Raises UserError without trajectories.
    """
    report: dict[str, float] = {key: value for key, value in flat(summarize(rows)).items() if value is not None}
    everyone = [trajectory for group in unforced(groups) for trajectory in group.trajectories]
    report["reward/mean"] = fmean(row["reward"] for row in rows)
    for name in groups[0].trajectories[0].terms:
        report[f"reward/{name}"] = fmean(trajectory.terms[name] for trajectory in everyone)
    report |= tool_metrics(rows, tools) | failure_metrics(rows) | think_metrics(everyone) | length_metrics(everyone)
    if all(len(group.trajectories) > 1 for group in groups):
        report["zero_variance_share"] = fmean(group.equal_rewards for group in groups)
    return report


def unforced(groups: list[Group]) -> list[Group]:
    """The groups with only the trajectories that the policy has begun itself, as metrics of its behavior need.

    The others are left out also where no tag could be forced: those alone would be a biased sample.
    """
    return [replace(group, trajectories=[t for t in group.trajectories if t.free]) for group in groups]


def forced_share(groups: list[Group]) -> float:
    """The share of trajectories that began with a forced tag. Raises StatisticsError without trajectories."""
    return fmean(trajectory.forced is not None for group in groups for trajectory in group.trajectories)


def tool_metrics(rows: Rows, tools: Iterable[str]) -> dict[str, float]:
    """For each tool its calls per trajectory, and the share of them that failed (left out without calls)."""
    calls = [pair for row in rows for pair in zip(row["tools"], row["calls"], strict=True)]
    report: dict[str, float] = {}
    for name in tools:
        failed = [call != OK for tool, call in calls if tool == name]
        report[f"tool/{name}/calls"] = len(failed) / len(rows)
        if failed:
            report[f"tool/{name}/failed"] = fmean(failed)
    return report


def failure_metrics(rows: Rows) -> dict[str, float]:
    """How many calls failed and, where boxes are asked for, answers are not valid boxes, by kind; and the share of
    trajectories that stopped for each reason.
    """
    calls = Counter(call for row in rows for call in row["calls"])
    boxes = Counter(row["box_error"] for row in rows if row["iou"] is not None)
    stops = Counter(row["stop"] for row in rows)
    report: dict[str, float] = {f"failed_call/{kind}": calls[kind] for kind in CallError}
    report |= {f"bad_box/{kind}": boxes[kind] for kind in BoxError if boxes}
    return report | {f"stop/{reason}": stops[reason] / len(rows) for reason in StopReason}


def length_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """Tokens and turns per trajectory, and the entropy per sampled token in nats."""
    report = {
        "length/sampled": fmean(trajectory.n_sampled for trajectory in trajectories),
        "length/written": fmean(len(trajectory.ids) - trajectory.n_sampled for trajectory in trajectories),
        "length/turns": fmean(len(trajectory.turns) for trajectory in trajectories),
    }
    if entropies := [entropy for trajectory in trajectories for entropy in trajectory.entropies]:
        report["entropy"] = fmean(entropies)
    return report


def think_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """The content of ``<think>``: words per trajectory, the share of trajectories with a thought that no other has, and
    the correlation of the number of words with the reward (left out where either is constant).
    """
    thoughts = [" ".join(tagged(trajectory.text, "think")).split() for trajectory in trajectories]
    times = Counter(map(tuple, thoughts))
    lengths = [len(words) for words in thoughts]
    rewards = [trajectory.reward for trajectory in trajectories]
    unique = fmean(bool(words) and times[tuple(words)] == 1 for words in thoughts)
    report = {"think/words": fmean(lengths), "think/unique_share": unique}
    if len(set(lengths)) > 1 and len(set(rewards)) > 1:
        report["think/reward_correlation"] = correlation(lengths, rewards)
    return report


def histogram(values: list[float]) -> Histogram:
    """Counts over ``EDGES``; values beyond the edges are counted in the outermost bins."""
    counts, _ = np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)
    return Histogram(counts.tolist(), EDGES.tolist())
