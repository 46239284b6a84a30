"""What both sides train on: the same weights, pictures, prompts, sampled tokens and rewards."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import step
from PIL import Image

from loupe.grpo.module import GRPOModule
from loupe.pictures import open_picture
from loupe.records import Example
from loupe.tools.toolbox import Toolbox

TURN = 48
"""Tokens of a turn."""

BUDGET = {("1.6M", 448, True): 2048, ("47M", 112, True): 1024, ("47M", 448, True): 2048}
"""Loupe's ``algorithm.microbatch_tokens`` by model, resolution and zoom: the fewest that cost no time; else 8192."""


@dataclass(frozen=True)
class Drawn:
    """A picture that has been drawn."""

    picture: Image.Image

    def render(self) -> Image.Image:
        return self.picture


@dataclass(frozen=True)
class Point:
    """A point of the grid: ``questions`` x ``group`` trajectories of one turn, or of two with a zoom between them.

    size: of the model (``step.SIZES``).
    """

    size: str = "1.6M"
    resolution: int = 112
    zoom: bool = True
    group: int = 8
    questions: int = 16

    @property
    def name(self) -> str:
        tool = "zoom" if self.zoom else "no tool"
        return f"{self.size}, {self.resolution} px, {tool}, {self.questions} x {self.group}"


def build(point: Point) -> tuple[GRPOModule, list[Example]]:
    """Loupe's module with a rollout that follows :func:`script`, and the questions with their pictures drawn.

    A turn ends at the end-of-turn token alone, as with TRL; by itself, Loupe ends it one token earlier, at the closing
    tag.
    """
    Toolbox.stop_texts = ()
    settings = [f"resolution={point.resolution}", "trainer.max_steps=100000", "logger=none", *step.SIZES[point.size]]
    module, rollouts, examples = step.build(
        point.questions,
        point.group,
        BUDGET.get((point.size, point.resolution, point.zoom), 8192),
        settings + ["tool=none"] * (not point.zoom),
    )
    module.group_size = point.group
    module.rollout = rollouts["shared"]
    module.rollout.max_new_tokens = TURN
    module.rollout.script = script(point, module.policy.tokenizer)
    return module, [replace(example, image=Drawn(open_picture(example.image))) for example in examples]


def script(point: Point, tokenizer) -> list[list[list[int]]]:
    """The turns of every sample of a group, each of ``TURN`` tokens."""

    def turn(text: str) -> list[int]:
        ending = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.convert_tokens_to_ids("<|im_end|>")]
        return step.filled(tokenizer, ending, TURN)

    calls = [turn(step.zoom([10 + 13 * sample % 80, 10 + 7 * sample % 60])) for sample in range(point.group)]
    answers = [turn(f"<answer>{100 + sample}</answer>") for sample in range(point.group)]
    return [[call, answer] if point.zoom else [answer] for call, answer in zip(calls, answers, strict=True)]


def reward(sample: int) -> float:
    """The reward of a sample of a group. All differ from their mean, so every trajectory has a gradient."""
    return float(sample % 2)


def digest(trajectories: list[tuple[list[int], list[int], list[bool]]]) -> str:
    """Of the tokens of prompts and completions, and of which of them are sampled, in any order of trajectories."""
    rows = sorted(str((prompt, ids, list(map(int, sampled)))) for prompt, ids, sampled in trajectories)
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:16]
