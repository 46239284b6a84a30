from functools import partial
from statistics import fmean

import pytest
import torch
from conftest import ANSWER, THINK, call, make_rollout, make_teacher

from loupe.data.signs import Signs
from loupe.engine.scripted import ScriptedRollout
from loupe.geometry import middle
from loupe.pretrain import skills
from loupe.pretrain.aims import keypoint_of
from loupe.pretrain.skills import Skills
from loupe.pretrain.teacher import SIZE


class Oracle(ScriptedRollout):
    """Answers every question with the turns that ``say`` returns for the sign in question."""

    def __init__(self, *args, say, **options):
        super().__init__(*args, script=[], **options)
        self.say = say

    def __call__(self, examples, group_size, step, greedy=False):
        groups, skipped = [], []
        for example in examples:  # one at a time, because a script is about one sign
            self.script = [[self._ids(turn) for turn in self.say(example.image.asked)]]
            answered, errors = super().__call__([example], group_size, step, greedy)
            groups, skipped = groups + answered, skipped + errors
        return groups, skipped


def measure(teacher, say, n=3):
    return Skills(teacher, partial(make_rollout, teacher.policy, Oracle, 1, say=say), 112, Signs("validation", 0, n))()


def where(sign):
    return keypoint_of(middle(sign.box), (112, 84), (1600, 1200))


def test_pointing_well(teacher):
    good = measure(teacher, lambda sign: [f"<think>It is there.</think>\n<answer>{where(sign)}</answer>"])
    assert good["pointing_small"] == good["pointing_large"] == 1


def test_pointing_with_boxes(shared_policy):
    boxes = make_teacher(shared_policy, call="box_json")

    def box(sign):
        return [round(value * 0.07) for value in sign.box]

    assert measure(boxes, lambda sign: [f"<answer>{box(sign)}</answer>"])["pointing_small"] == 1
    assert measure(boxes, lambda sign: [f"<answer>{where(sign)}</answer>"])["pointing_small"] == 0


def test_pointing_badly(teacher):
    away = measure(teacher, lambda sign: [f"<answer>[{0 if where(sign)[0] > 56 else 111}, 0]</answer>"])
    assert away["pointing_small"] == 0
    silent = measure(teacher, lambda sign: [ANSWER])
    assert silent["pointing_small"] == silent["pointing_large"] == 0


def test_the_protocol_is_measured_sampled_and_greedy(teacher):
    def say(sign):
        first_look = f"<think>{SIZE.format('small')}</think>\n"  # whatever the sign
        answer = f"{first_look}<answer>{sign.text}</answer>"
        return [call(str(where(sign))).replace(THINK, first_look), answer] if sign.size == "small" else [answer]

    report = measure(teacher, say)
    for decoding in ("sampled", "greedy"):
        assert report[f"{decoding}/zoom_rate/small"] == 1
        assert report[f"{decoding}/zoom_rate/large"] == 0
        assert report[f"{decoding}/score/all"] == report[f"{decoding}/well_formed"] == 1
        assert report[f"{decoding}/failed_call_rate/all"] == 0
        assert report[f"{decoding}/sizes_named"] == fmean(
            Signs("validation", 0, 3)[i].subset == "small" for i in range(3)
        )


@pytest.mark.parametrize("right", [True, False])
def test_reading_counts_a_number_only_if_every_digit_is_right(teacher, monkeypatch, right):
    def hits(policy, batch):
        marks = torch.ones(len(batch.targets), dtype=torch.bool)
        if not right:
            for number in range(int(batch.lesson.max()) + 1):  # the last digit of each number is wrong
                digits = (batch.weights != skills.FORM) & (batch.lesson == number)
                marks[digits.nonzero()[-1]] = False
        return marks

    monkeypatch.setattr(skills, "hits", hits)
    report = measure(teacher, lambda sign: [ANSWER])
    assert {report["reading"], report["direct_small"], report["direct_large"]} == {float(right)}
