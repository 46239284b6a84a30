"""Judging a policy on the questions of one split, under several conditions, question by question.

greedy, sampled   the answers as they are
no_tool           the prompt does not speak of the tool: what is known from the overview alone
shuffled          every crop is cut from another question's picture: what a crop's content is worth
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from torch.utils.data import Dataset, Subset

from loupe.data.datamodule import LoupeDataModule
from loupe.errors import UserError, require_choice, require_int
from loupe.intervals import Estimate, bootstrap
from loupe.metrics import summary_metrics, trajectory_row
from loupe.records import Example, Group, TrajectoryType
from loupe.rewards import terms
from loupe.rewards.composite import CompositeReward
from loupe.rollout import GroupRollout

SPLITS = ("train", "val", "test")
RIGHT = 0.5
"""From this VQA score on an answer counts as right, in tool-gain and tool-harm (two of three agreeing references)."""


class Shuffled(Dataset[Example]):
    """The same questions, but the tool cuts from the picture of the question half the set further on."""

    def __init__(self, examples: Dataset[Example]):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        other = (index + max(1, len(self) // 2)) % len(self)
        return replace(self.examples[index], zoom_image=self.examples[other].image)


@dataclass(frozen=True)
class Condition:
    """One way to answer the questions. samples: answers to each, 1 if greedy."""

    name: str
    rollout: GroupRollout
    examples: Dataset[Example]
    greedy: bool = True
    samples: int = 1

    def answers(
        self, batch_size: int, reward: CompositeReward, done: Callable[[int], None]
    ) -> tuple[list[Group], list[str]]:
        """A light group, scored, for each question that could be read, and one line for each that could not."""
        groups, skipped = [], []
        for start in range(0, len(self.examples), batch_size):
            batch = [self.examples[i] for i in range(start, min(start + batch_size, len(self.examples)))]
            answered, errors = self.rollout(batch, self.samples, step=0, greedy=self.greedy)
            for group in answered:
                reward.score_group(group, step=0)
                groups.append(group.light())
            skipped += map(str, errors)
            done(len(batch))
        return groups, skipped


def questions(data: LoupeDataModule, split: str, n: int | None) -> Dataset[Example]:
    """The first ``n`` questions of a split of ``data``, or all of them."""
    require_choice("evaluate.split", split, SPLITS)
    examples = getattr(data, split)
    if examples is None:
        has = ", ".join(name for name in SPLITS if getattr(data, name) is not None)
        raise UserError(f"evaluate.split={split}: this data set has none; it has {has}")
    wanted = len(examples) if n is None else require_int("evaluate.n", n, 1)
    return Subset(examples, range(min(wanted, len(examples))))


def conditions(
    with_tool: GroupRollout, without_tool: GroupRollout, examples: Dataset[Example], samples: int
) -> list[Condition]:
    """All that there is to ask: sampled only if ``samples`` > 0, the last two only if there is a tool."""
    asked = [Condition("greedy", with_tool, examples)]
    if require_int("evaluate.samples", samples, 0):
        asked.append(Condition("sampled", with_tool, examples, greedy=False, samples=samples))
    if with_tool.tool.max_calls:
        asked.append(Condition("no_tool", without_tool, examples))
        if len(examples) > 1:
            asked.append(Condition("shuffled", with_tool, Shuffled(examples)))
    return asked


def report(answers: dict[str, list[Group]], resamples: int) -> dict:
    """Everything about the answers to one set of questions, as evaluation.json states it.

    ``parts``: for all questions and for each subset, the score of each condition with its interval, the tool's use, and
    tool_gain and tool_harm. ``types``: score and share of each trajectory type, sampled if that was asked.
    """
    greedy = answers["greedy"]
    if not greedy:
        raise UserError("none of the questions could be read; see the skipped rows above")
    subsets = ["all", *sorted({group.example.subset for group in greedy if group.example.subset})]
    return {
        "parts": {name: _part({c: _of(groups, name) for c, groups in answers.items()}, resamples) for name in subsets},
        "types": {name: _types(_of(answers.get("sampled", greedy), name)) for name in subsets},
    }


def _part(answers: dict[str, list[Group]], resamples: int) -> dict:
    scores = {condition: question_scores(groups) for condition, groups in answers.items()}
    part = {f"score/{condition}": asdict(bootstrap(list(s.values()), resamples)) for condition, s in scores.items()}
    for condition, groups in answers.items():
        figures = summary_metrics(groups)
        for name in ("zoom_rate", "zoom_hit_rate", "failed_call_rate"):
            if (name, condition) != ("zoom_hit_rate", "shuffled"):  # another picture's crop cannot hit
                part[f"{name}/{condition}"] = figures[name]
    if "no_tool" in scores:
        part |= {name: asdict(value) for name, value in gain_and_harm(scores, resamples).items()}
    return part


def gain_and_harm(scores: dict[str, dict[str, float]], resamples: int) -> dict[str, Estimate]:
    """Shares of the questions that are wrong without the tool and right with it (gain), and the reverse (harm)."""
    without_tool, with_tool = scores["no_tool"], scores["greedy"]
    both = [(without_tool[q] >= RIGHT, with_tool[q] >= RIGHT) for q in with_tool if q in without_tool]
    return {
        "tool_gain": bootstrap([not without and with_it for without, with_it in both], resamples),
        "tool_harm": bootstrap([without and not with_it for without, with_it in both], resamples),
    }


def question_scores(groups: list[Group]) -> dict[str, float]:
    """The VQA score of each question by its id, averaged over the samples."""
    return {g.example.id: fmean(terms.hard(t, g.example) for t in g.trajectories) for g in groups}


def _types(groups: list[Group]) -> dict[str, dict]:
    pairs = [(trajectory, group.example) for group in groups for trajectory in group.trajectories]
    table = {}
    for kind in TrajectoryType:
        scores = [terms.hard(trajectory, example) for trajectory, example in pairs if trajectory.type is kind]
        table[kind.value] = {"share": len(scores) / len(pairs), "score": fmean(scores) if scores else None}
    return table


def _of(groups: list[Group], subset: str) -> list[Group]:
    return [group for group in groups if subset in ("all", group.example.subset)]


def save(folder: Path, figures: dict, answers: dict[str, list[Group]]) -> None:
    """Write evaluation.json, and answers.jsonl with a line for every answer under every condition."""
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    with (folder / "answers.jsonl").open("w") as file:
        for condition, groups in answers.items():
            for trajectory, example in ((t, group.example) for group in groups for t in group.trajectories):
                row = trajectory_row(trajectory, example, 0, "")
                del row["step"], row["split"], row["advantage"]
                file.write(json.dumps({"condition": condition} | row) + "\n")


def table(figures: dict) -> str:
    """The report as text: one column for all questions and each subset."""
    parts = figures["parts"]
    lines = [f"{'':<26}" + "".join(f"{f'{name} (n={_n(part)})':>24}" for name, part in parts.items())]
    for key in parts["all"]:
        lines.append(f"{key:<26}" + "".join(f"{_cell(part.get(key)):>24}" for part in parts.values()))
    for kind in TrajectoryType:
        cells = [figures["types"][name][kind.value] for name in parts]
        lines.append(
            f"{f'{kind}: share, score':<26}"
            + "".join(f"{_cell(cell['share']) + ', ' + _cell(cell['score']):>24}" for cell in cells)
        )
    return "\n".join(lines)


def _n(part: dict) -> int:
    return part["score/greedy"]["n"]


def _cell(value: dict | float | None) -> str:
    return "-" if value is None else str(Estimate(**value)) if isinstance(value, dict) else f"{value:.3f}"
