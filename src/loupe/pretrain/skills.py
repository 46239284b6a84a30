"""Measures each skill of a base by itself, on scenes that are in no lesson.

The skills are not averaged, because reinforcement learning cannot rescue a base that reads but points at random.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean

import torch

from loupe.data.scenes import SignScene
from loupe.data.signs import Signs
from loupe.engine.rollout import GroupRollout
from loupe.geometry import middle
from loupe.metrics.rows import answer_rows, is_hit
from loupe.metrics.summary import ALL, summarize
from loupe.pretrain.teacher import FORM, POINT, SIZE, WHERE, ZOOM, Teacher
from loupe.records import Example, Group
from loupe.rewards.terms import well_formed
from loupe.sft.lessons import Lesson, batch_lessons, hits
from loupe.tools.errors import Failure
from loupe.tools.toolbox import Toolbox

BATCH = 16
BY_SIZE, OVERALL = ("score", "zoom_rate"), ("iou", "zoom_hit_rate", "failed_call_rate", "n")
"""Metrics of the protocol: those reported for small and large signs too, and those reported only over all signs."""


class Skills:
    """Measures a policy on ``scenes``, shown at ``resolution``.

    reading: share of small signs whose number is read exactly from a well-aimed crop.
    direct_small, direct_large: share whose number is read exactly from the overview.
    pointing_small, pointing_large: share of hits (``metrics.rows.is_hit``) among the crops of the keypoints that the
        policy gives when it is asked to point at a sign, or of the boxes, where calls are aimed with one.
    sampled/.., greedy/..: the protocol, with the question that training asks: scores and tool use as in a training
        step; the share of well-formed answers; ``sizes_named``, the share of first turns with the sign's right size.
    """

    def __init__(
        self, teacher: Teacher, make_rollout: Callable[[Toolbox], GroupRollout], resolution: int, scenes: Signs
    ):
        self.teacher = teacher
        self.make_rollout = make_rollout
        self.resolution = resolution
        self.scenes = scenes

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        was_training = self.teacher.policy.training
        self.teacher.policy.eval()
        report = self._reading() | self._pointing() | self._protocol()
        self.teacher.policy.train(was_training)
        return report

    def _reading(self) -> dict[str, float]:
        lessons: dict[str, list[Lesson]] = {"reading": [], "direct_small": [], "direct_large": []}
        for scene in self._scenes():
            sign, desk = scene.asked, self.teacher.desk(scene, self.resolution, self.teacher.tool)
            lessons[f"direct_{sign.size}"].append(desk.direct(sign))
            if sign.size == "small":
                lessons["reading"].append(desk.call(sign, desk.aims.at(middle(sign.box)), FORM))
        return {name: self._exact(members) for name, members in lessons.items() if members}

    def _exact(self, lessons: list[Lesson]) -> float:
        """Share of lessons whose every digit is the policy's most likely token, given the tokens before it."""
        exact: list[bool] = []
        for i in range(0, len(lessons), BATCH):
            batch = batch_lessons([[lesson] for lesson in lessons[i : i + BATCH]])
            right = hits(self.teacher.policy, batch)
            digits = batch.weights != FORM
            exact += [bool(right[digits & (batch.lesson == k)].all()) for k in range(int(batch.lesson.max()) + 1)]
        return fmean(exact)

    def _pointing(self) -> dict[str, float]:
        hits: dict[str, list[bool]] = {"pointing_small": [], "pointing_large": []}
        tools = self.teacher.tools
        asked = POINT if tools.form.aim == "keypoint" else WHERE
        questions = [
            replace(self.scenes.question(scene), question=asked.format(scene.asked.color)) for scene in self._scenes()
        ]
        for group in self._answers(questions, tools.without(), greedy=True):
            call = tools.form.write(ZOOM, {tools.form.aim: group.trajectories[0].answer or ""})
            result = tools.execute(call, group.prompt.views()[-1])
            box = None if isinstance(result, Failure) else result.box
            hit = box is not None and is_hit(box, group.example.target_boxes[0])
            hits[f"pointing_{group.example.subset}"].append(hit)
        return {name: fmean(members) for name, members in hits.items() if members}

    def _protocol(self) -> dict[str, float]:
        report: dict[str, float] = {}
        policy, questions = self.teacher.policy, [self.scenes.question(scene) for scene in self._scenes()]
        for decoding in ("sampled", "greedy"):
            answers = self._answers(questions, self.teacher.tools, greedy=decoding == "greedy")
            groups = [group.light() for group in answers]
            summary = summarize(answer_rows(groups, decoding, policy.factor, policy.merge))
            skills = {f"{metric}/{part}": value for metric in BY_SIZE for part, value in summary[metric].items()}
            skills |= {f"{metric}/{ALL}": summary[metric][ALL] for metric in OVERALL if metric in summary}
            skills["well_formed"] = fmean(well_formed(g.trajectories[0], g) for g in groups)
            skills["sizes_named"] = fmean(SIZE.format(g.example.subset) in g.trajectories[0].turns[0] for g in groups)
            report |= {f"{decoding}/{name}": value for name, value in skills.items() if isinstance(value, float | int)}
        return report

    def _answers(self, examples: list[Example], tools: Toolbox, greedy: bool) -> Iterator[Group]:
        """Groups of one trajectory per example; only one batch of full pictures is in memory at a time."""
        rollout = self.make_rollout(tools)
        for i in range(0, len(examples), BATCH):
            groups, _ = rollout(examples[i : i + BATCH], 1, step=0, greedy=greedy)
            yield from groups

    def _scenes(self) -> list[SignScene]:
        return [self.scenes.scene(i) for i in range(len(self.scenes))]
