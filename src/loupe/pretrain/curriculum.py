"""The order of the lessons: reading close-ups and linking colors to positions first, dialogues last.

Every step is a function of (seed, step), so that a resumed run continues exactly like one that was never interrupted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from torch.utils.data import Dataset

from loupe.data.beside import Row
from loupe.data.scenes import SceneStyle, Sign, SignScene
from loupe.errors import require_choice, require_int
from loupe.geometry import Box, middle
from loupe.pretrain.teacher import Teacher
from loupe.sft.lessons import Lesson, LessonBatch, batch_lessons
from loupe.tools.zoom import crop_box

SIDES = (84, 112, 140, 168)
"""Long sides at which pictures and crops are shown; more than half of them at 112."""
CROPS = (200, 800)
"""Range of the zoom tool's crop; half of the crops are 400."""
WITH_TOOL = 0.75
"""Share of pictures whose prompt explains the tool, in stages with dialogues."""
DRAWS = 3
"""Lessons drawn per sign; a lesson that is drawn twice is given once."""


@dataclass(frozen=True)
class Stage:
    """What is taught up to the share ``until`` of all steps, with numbers of views and pictures per step.

    n_signs, clutter: settings of the scenes.
    spread: how much the widths of views vary, in widths of the sign (0.13: views are 1.02 to 1.15 times as wide).
    scene: the kind of scenes.
    mix: relative frequencies of the lessons about single signs of a whole picture; each picture is described besides.
    """

    until: float
    n_signs: tuple[int, int]
    clutter: int
    spread: float
    mix: dict[str, float]
    views: int
    pictures: int
    scene: type[SignScene] = SignScene


FIRST = Stage(0.25, (1, 4), 0, 0.13, {"point": 1}, views=56, pictures=12)
WIDER = Stage(0.45, (2, 4), 3, 0.6, {"point": 4, "where": 1, "direct": 3}, views=40, pictures=12)
DIALOGUES = Stage(1.00, (1, 3), 3, 1.2, {"point": 3, "where": 1, "direct": 3, "clumsy": 5}, views=20, pictures=12)
STAGES = (FIRST, WIDER, DIALOGUES)
"""Two skills take hundreds of steps to emerge, and are taught together from the start: reading, from close-ups of one
sign, and linking colors to positions, from descriptions. When one came after the other, the first slowed the second."""

BOXES = Stage(1.00, (2, 3), 3, 1.2, {"boxed": 1}, views=0, pictures=16)
POINTING = replace(DIALOGUES, mix={"point": 3, "where": 1, "direct": 3, "astray": 5})
CALLS = replace(DIALOGUES, n_signs=(2, 3), views=0, pictures=16)
BESIDE = Stage(1.00, (3, 3), 3, 1.2, {"beside": 1, "thoughtful": 1}, views=0, pictures=16, scene=Row)
COURSES = {"base": STAGES, "boxes": (BOXES,), "pointing": (POINTING,), "calls": (CALLS,), "beside": (BESIDE,)}
"""Everything, from random weights; or, to the base, careless boxes or keypoints, though it could already do better,
another form of calls, or boxes of signs that are named by their neighbors.
"""
HABITS = ("clumsy", "astray")
"""Lessons in which the teacher zooms by habit."""
WITH_ZOOM = (*HABITS, "boxed")
"""Lessons whose prompt may explain the tool."""
RANDOM = (*WITH_ZOOM, "beside", "thoughtful")
"""Lessons in which it acts at random."""


class Curriculum(Dataset[list[LessonBatch]]):
    """Item k holds the lessons of step k of ``steps``: those about views, then those about whole pictures.

    style: of the scenes; the stages override the number of signs and the clutter. course: one of ``COURSES``.
    """

    def __init__(self, teacher: Teacher, steps: int, seed: int, style: SceneStyle, course: str = "base"):
        self.teacher = teacher
        self.style = style
        self.steps = require_int("trainer.max_steps", steps, 1)
        self.seed = require_int("seed", seed, 0)
        self.stages = COURSES[require_choice("pretrain.course", course, COURSES)]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[LessonBatch]:
        stage = next(stage for stage in self.stages if step <= stage.until * self.steps)
        pictures = [self._picture(*self._scene(step, i, stage, stage.n_signs), stage) for i in range(stage.pictures)]
        # A view shows one sign, however many the scene has; three signs per scene save rendering two more scenes.
        scenes = (self._scene(step, stage.pictures + i, stage, (3, 3)) for i in range(stage.views))
        views = islice((view for scene, rng in scenes for view in self._views(scene, rng, stage)), stage.views)
        pictures.sort(key=lambda lessons: sum(len(lesson.ids) for lesson in lessons))
        half = len(pictures) // 2  # rows of similar length need less padding
        rows = [[[view] for view in views], pictures[:half], pictures[half:]]
        return [batch_lessons(part) for part in rows if part]

    def _scene(self, step: int, number: int, stage: Stage, n_signs: tuple[int, int]) -> tuple[SignScene, Random]:
        style = replace(self.style, n_signs=n_signs, clutter=stage.clutter)
        scene = stage.scene("pretrain", self.seed, step * 1000 + number, style)
        return scene, scene.rng("lessons")

    def _picture(self, scene: SignScene, rng: Random, stage: Stage) -> list[Lesson]:
        with_tool = not stage.mix.keys().isdisjoint(WITH_ZOOM) and rng.random() < WITH_TOOL
        # With the tool, only lessons of habit answer the question, so that they alone set how often the policy zooms.
        left_out = ("direct",) if with_tool else HABITS
        mix = {kind: share for kind, share in stage.mix.items() if kind not in left_out}
        tool = replace(self.teacher.tool, crop=_crop(rng), output_size=_side(rng)) if with_tool else None
        desk = self.teacher.desk(scene, _side(rng), tool)
        described = "thoughtful" in stage.mix  # by the thoughts
        lessons = [] if described else [desk.describe(rng.sample(self.style.colors, len(self.style.colors)))]
        for sign in scene.signs:
            for kind in sorted(set(rng.choices(list(mix), list(mix.values()), k=DRAWS))):
                teach = getattr(desk, kind)
                lessons.append(teach(sign, rng) if kind in RANDOM else teach(sign))
        return lessons

    def _views(self, scene: SignScene, rng: Random, stage: Stage) -> Iterator[Lesson]:
        picture = scene.render()
        for sign in scene.signs:
            box = view_box(rng, sign, stage.spread, picture.size)
            yield self.teacher.view(picture, sign, box, 112 if stage is FIRST else _side(rng))


def _side(rng: Random) -> int:
    return 112 if rng.random() < 0.5 else rng.choice(SIDES)


def _crop(rng: Random) -> int:
    return 400 if rng.random() < 0.5 else rng.randint(*CROPS)


def view_box(rng: Random, sign: Sign, spread: float, size: tuple[int, int]) -> Box:
    """A square of 1.02 to 1.02 + ``spread`` times the sign's width, placed at random but with the whole sign in it."""
    width, height = sign.box[2] - sign.box[0], sign.box[3] - sign.box[1]
    side = min(round(width * rng.uniform(1.02, 1.02 + spread)), *size)
    x, y = middle(sign.box)
    across, down = (rng.uniform(-0.5, 0.5) * max(0, side - extent) for extent in (width, height))
    return crop_box((x + across, y + down), side, size)
