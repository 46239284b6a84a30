"""From trajectories to the figures that are logged: pure functions from records to flat dicts with slash keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import correlation, fmean

import numpy as np

from loupe.errors import UserError
from loupe.geometry import Box, area, overlap
from loupe.metrics.intervals import bootstrap
from loupe.records import OK, Example, Group, StopReason, Trajectory, TrajectoryType
from loupe.rewards import terms
from loupe.rewards.boxes import BoxError, answer_iou, read_box
from loupe.tools.errors import CallError

EDGES = np.linspace(-3, 3, 25)
"""Bins of the advantage histograms, the same at every step so that they can be stacked."""

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}

THOUGHT = re.compile(r"<think>(.*?)</think>", re.DOTALL)

Pair = tuple[Trajectory, Example]


@dataclass(frozen=True)
class Histogram:
    """counts[i] values lie between edges[i] and edges[i + 1]; there is one edge more than counts."""

    counts: list[int]
    edges: list[float]


def advantage_metrics(groups: list[Group]) -> dict[str, float | Histogram]:
    """The distribution of advantages for each trajectory type (the figure of arXiv 2506.14821).

    ``advantage/{type}/..``: hist, mean, std (population), quantiles, count and share of all trajectories. A type
    without trajectories has only count and share. ``advantage_{subset}/{type}/..``: mean, count and share within
    each subset. Raises UserError without trajectories.
    """
    pairs = _pairs(groups)
    report: dict[str, float | Histogram] = {}
    for kind in TrajectoryType:
        if values := _advantages(pairs, kind):
            quantiles = np.quantile(values, list(QUANTILES.values())).tolist()
            report[f"advantage/{kind}/hist"] = histogram(values)
            report[f"advantage/{kind}/std"] = float(np.std(values))
            report |= {f"advantage/{kind}/{q}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
    for suffix, members in _parts(groups).items():
        there = _pairs(members)
        for kind in TrajectoryType:
            report |= _mean_and_share(f"advantage{suffix}/{kind}", _advantages(there, kind), len(there))
    return report


def rollout_metrics(groups: list[Group]) -> dict[str, float]:
    """Rewards, scores, tool use, stop reasons and lengths of scored groups; means over trajectories.

    Terms are raw (unweighted). ``entropy`` is a mean over sampled tokens, ``failed_call/{kind}`` a count. See also
    :func:`box_metrics` and :func:`think_metrics`. Left out
    where undefined: ``zoom_hit_rate``, and ``zero_variance_share`` (groups whose rewards are all equal) for groups
    of one. Raises UserError without trajectories.
    """
    everyone = [trajectory for trajectory, _ in _pairs(groups)]
    stops = Counter(trajectory.stop for trajectory in everyone)
    failures = Counter(event.status for trajectory in everyone for event in trajectory.events)
    report = {key: value for key, value in summary_metrics(groups).items() if value is not None}
    report["reward/mean"] = fmean(trajectory.reward for trajectory in everyone)
    for term in everyone[0].terms:
        report[f"reward/{term}"] = fmean(trajectory.terms[term] for trajectory in everyone)
    report |= {f"failed_call/{kind}": failures[kind] for kind in CallError}
    report |= box_metrics(_pairs(groups)) | think_metrics(everyone)
    report |= {f"stop/{reason}": stops[reason] / len(everyone) for reason in StopReason}
    report["length/sampled"] = fmean(trajectory.n_sampled for trajectory in everyone)
    report["length/written"] = fmean(len(trajectory.ids) - trajectory.n_sampled for trajectory in everyone)
    report["length/turns"] = fmean(len(trajectory.turns) for trajectory in everyone)
    report["entropy"] = fmean(entropy for trajectory in everyone for entropy in trajectory.entropies)
    if all(len(group.trajectories) > 1 for group in groups):
        report["zero_variance_share"] = fmean(len({t.reward for t in group.trajectories}) == 1 for group in groups)
    return report


def box_metrics(pairs: list[Pair]) -> dict[str, float]:
    """How many answers are no box, by kind, where boxes are asked for."""
    asked = [trajectory for trajectory, example in pairs if example.answer_box]
    errors = Counter(read_box(trajectory.answer, trajectory.frame) for trajectory in asked)
    return {f"bad_box/{kind}": errors[kind] for kind in BoxError if asked}


def think_metrics(trajectories: list[Trajectory]) -> dict[str, float]:
    """What is said in ``<think>``: words on average, the share of trajectories that say something nobody else says,
    and the correlation of the number of words with the reward (left out where either is the same throughout).
    """
    thoughts = [" ".join(THOUGHT.findall(trajectory.text)).split() for trajectory in trajectories]
    times = Counter(map(tuple, thoughts))
    lengths = [len(words) for words in thoughts]
    rewards = [trajectory.reward for trajectory in trajectories]
    report = {
        "think/words": fmean(lengths),
        "think/unique_share": fmean(times[tuple(words)] == 1 for words in thoughts),
    }
    if len(set(lengths)) > 1 and len(set(rewards)) > 1:
        report["think/reward_correlation"] = correlation(lengths, rewards)
    return report


def summary_metrics(groups: list[Group]) -> dict[str, float | None]:
    """Scores and tool use, over all trajectories and by subset.

    The score is ``terms.hard``, whatever the reward is made of; ``iou`` is there where answers are boxes.
    ``zoom_hit_rate`` is the share of the executed calls on pictures with known targets that hit one of them
    (:func:`is_hit`), None if there are no such calls. Raises UserError without trajectories.
    """
    pairs = _pairs(groups)
    parts = {suffix: _pairs(members) for suffix, members in _parts(groups).items()}
    report: dict[str, float | None] = {f"score{suffix}": _score(members) for suffix, members in parts.items()}
    report |= {f"zoom_rate{suffix}": _zoom_rate(members) for suffix, members in parts.items()}
    hit = [value for trajectory, example in pairs if example.target_boxes for value in hits(trajectory, example)]
    calls = [event.status != OK for trajectory, _ in pairs for event in trajectory.events]
    report["zoom_hit_rate"] = fmean(hit) if hit else None
    report["failed_call_rate"] = fmean(calls) if calls else 0.0
    ious = [answer_iou(trajectory, example) for trajectory, example in pairs if example.answer_box]
    return report | ({"iou": fmean(ious)} if ious else {}) | {"n": len(pairs)}


def held_out_metrics(groups: list[Group]) -> dict[str, float | dict | None]:
    """What summary.json states: :func:`summary_metrics`, and scores as ``{mean, low, high, n}``: with their 95%
    bootstrap intervals over questions. Raises UserError without trajectories.
    """
    report = summary_metrics(groups)
    report |= {f"score{suffix}": _interval(members, terms.hard) for suffix, members in _parts(groups).items()}
    if "iou" in report:
        report["iou"] = _interval([group for group in groups if group.example.answer_box], answer_iou)
    return report


def trajectory_row(trajectory: Trajectory, example: Example, step: int, split: str) -> dict:
    """One line of trajectories.jsonl: everything about a trajectory but its tokens and pictures."""
    return {
        "step": step,
        "split": split,
        "id": example.id,
        "question": example.question,
        "references": list(example.references),
        "subset": example.subset,
        "sample": trajectory.sample,
        "type": trajectory.type,
        "stop": trajectory.stop,
        "turns": trajectory.turns,
        "answer": trajectory.answer,
        "terms": trajectory.terms,
        "reward": trajectory.reward,
        "advantage": trajectory.advantage,
        "events": [asdict(event) for event in trajectory.events],
        "n_sampled": trajectory.n_sampled,
    }


def histogram(values: list[float]) -> Histogram:
    """Counts over ``EDGES``; what lies beyond them is counted in the outermost bins."""
    counts, _ = np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)
    return Histogram(counts.tolist(), EDGES.tolist())


def hits(trajectory: Trajectory, example: Example) -> list[bool]:
    """Whether each executed call hit one of the targets."""
    executed = (event.box for event in trajectory.events if event.status == OK)
    return [any(is_hit(box, target) for target in example.target_boxes) for box in executed]


def is_hit(box: Box, target: Box) -> bool:
    """Whether the crop and the target share at least half the area of the smaller of the two."""
    return overlap(box, target) >= 0.5 * min(area(box), area(target)) > 0


def _pairs(groups: list[Group]) -> list[Pair]:
    pairs = [(trajectory, group.example) for group in groups for trajectory in group.trajectories]
    if not pairs:
        raise UserError("no trajectories to report on: every row was skipped; mend the data (see the skipped rows)")
    return pairs


def _parts(groups: list[Group]) -> dict[str, list[Group]]:
    """All groups, and those of each subset, by the suffix that keys get."""
    subsets = sorted({group.example.subset for group in groups if group.example.subset})
    return {"": groups} | {f"_{name}": [group for group in groups if group.example.subset == name] for name in subsets}


def _advantages(pairs: Iterable[Pair], kind: TrajectoryType) -> list[float]:
    return [trajectory.advantage for trajectory, _ in pairs if trajectory.type is kind]


def _mean_and_share(prefix: str, values: list[float], total: int) -> dict[str, float]:
    report = {f"{prefix}/count": len(values), f"{prefix}/share": len(values) / total}
    return report | ({f"{prefix}/mean": fmean(values)} if values else {})


def _score(pairs: list[Pair]) -> float:
    return fmean(terms.hard(trajectory, example) for trajectory, example in pairs)


def _interval(groups: list[Group], score: Callable[[Trajectory, Example], float]) -> dict[str, float]:
    """The mean over questions with its interval; the forms of one question are drawn together."""
    examples = [group.example for group in groups]
    return asdict(
        bootstrap(
            [fmean(score(trajectory, group.example) for trajectory in group.trajectories) for group in groups],
            clusters=[example.cluster or example.id for example in examples],
            parts=[example.cycle for example in examples],
        )
    )


def _zoom_rate(pairs: list[Pair]) -> float:
    return fmean(trajectory.type is TrajectoryType.TOOL_SUCCESS for trajectory, _ in pairs)
