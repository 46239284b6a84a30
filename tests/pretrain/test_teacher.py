import random
from collections import Counter
from itertools import product
from random import Random

import pytest
from conftest import NO_TOOL, make_rollout, make_teacher, zoom_call, zoom_tools

from loupe.data.beside import Row
from loupe.data.drawing import COLORS
from loupe.data.scenes import SceneStyle, Sign, SignScene
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.geometry import middle
from loupe.pretrain.aims import keypoint_of
from loupe.pretrain.teacher import (
    DIGITS,
    FAILING,
    FORM,
    GUESS,
    KEYPOINT,
    POINT,
    SENSIBLE,
    Teacher,
    legible,
)
from loupe.records import Example
from loupe.rewards.terms import well_formed


def follow(policy, scene, question, turns, tools=None):
    """The group of a rollout in which the policy writes these turns."""
    rollout = make_rollout(policy, ScriptedRollout, script=[turns], tools=tools, max_new_tokens=96)
    groups, _ = rollout([Example("x", scene, question, ("1",))], 1, step=0)
    return groups[0]


@pytest.mark.parametrize("keypoint", [[40, 30], [300, 2], "here"])
def test_a_call_is_token_for_token_what_the_rollout_produces(desk, scene, shared_policy, keypoint):
    sign = scene.asked
    lesson = desk.call(sign, keypoint, FORM)
    call = f"<think>The sign is {sign.size}.</think>\n<tool>{zoom_call(keypoint)}</tool>"
    decoded = shared_policy.tokenizer.decode(lesson.ids)
    answer = decoded[decoded.rindex("<think>") :]
    group = follow(shared_policy, scene, f"What number is on the {sign.color} sign?", [call, answer])
    trajectory = group.trajectories[0]
    assert lesson.ids == group.prompt.ids + trajectory.ids
    assert [w > 0 for w in lesson.weights] == [False] * len(group.prompt.ids) + [s == 1 for s in trajectory.sampled]
    assert [i.pixels.tolist() for i in lesson.images[1:]] == [i.pixels.tolist() for i in trajectory.images]
    assert well_formed(trajectory, group) == 1


@pytest.mark.parametrize("form", ["box_yaml", "box_json", "function"])
@pytest.mark.parametrize("kind", ["at", "bad"])
def test_so_is_a_call_in_every_other_form(shared_policy, scene, form, kind):
    sign, teacher = scene.asked, make_teacher(shared_policy, call=form)
    desk = teacher.desk(scene, 112, teacher.tool)
    for seed in range(2 if kind == "bad" else 1):
        lesson = desk.call(sign, desk.aims.at(middle(sign.box)) if kind == "at" else desk.aims.bad(Random(seed)), FORM)
        decoded = shared_policy.tokenizer.decode(lesson.ids)
        turns = [turn.partition("<|im_end|>")[0] for turn in decoded.split("<|im_start|>assistant\n")[1:]]
        group = follow(shared_policy, scene, f"What number is on the {sign.color} sign?", turns, teacher.tools)
        trajectory = group.trajectories[0]
        assert lesson.ids == group.prompt.ids + trajectory.ids
        assert trajectory.type == ("tool_success" if kind == "at" else "tool_fail")
        assert decoded.endswith(f"<answer>{sign.text}</answer>")
        assert well_formed(trajectory, group) == 1


def test_a_careless_box_is_token_for_token_what_the_rollout_produces(desk, scene, shared_policy):
    sign, kinds = scene.asked, Counter()
    for seed in range(12):
        lesson = desk.boxed(sign, Random(seed))
        written = shared_policy.tokenizer.decode(lesson.ids).split("assistant\n")[1:]
        turns = [turn.partition("<|im_end|>")[0] for turn in written]
        group = follow(shared_policy, scene, f"Where is the {sign.color} sign?", turns)
        assert lesson.ids == group.prompt.ids + group.trajectories[0].ids
        kinds[len(turns), well_formed(group.trajectories[0], group)] += 1
    assert len(kinds) == 4  # with a zoom and without, with a thought and without


def test_a_sign_is_named_by_its_neighbor_with_a_thought_that_names_it_and_without(teacher):
    row = Row("test", 0, 1, SceneStyle(n_signs=(3, 3)))
    desk = teacher.desk(row, 112, None)
    left, sign, right = row.order
    places = {left.color: 1, sign.color: 2, right.color: 3}
    listed = " ".join(f"{color}{places.get(color, 0)}" for color in COLORS)
    sides = {"right": (left, 1), "left": (right, 3)}
    answer = f"<answer>{[round(v * 0.07) for v in sign.box]}</answer>"
    seen = set()
    for seed in range(10):
        for teach in (desk.beside, desk.thoughtful):
            ids = teach(sign, Random(seed)).ids
            text = teacher.policy.tokenizer.decode(ids)
            question, _, turn = text.partition("Where is ")[2].partition("<|im_end|>\n<|im_start|>assistant\n")
            side = question.split()[2]
            other, place = sides[side]
            assert question == f"the sign {side} of the {other.color} one?"
            named = f"I see {listed}. {side.title()} of {other.color}{place} is 2: {sign.color}."
            thought = named if teach == desk.thoughtful else "I can see it."
            assert turn == f"<think>{thought}</think>\n{answer}"
            seen.add(side)
    assert len(seen) == 2
    group = follow(teacher.policy, row, f"Where is {question}", [turn], NO_TOOL)
    assert ids == group.prompt.ids + group.trajectories[0].ids and well_formed(group.trajectories[0], group) == 1


def test_only_the_signs_of_a_row_have_neighbors(desk, scene):
    with pytest.raises(TypeError, match="Row"):
        desk.beside(scene.asked, Random(0))


def test_direct_point_and_where_start_with_the_prompt_of_the_rollout(desk, scene, shared_policy):
    sign = scene.asked
    group = follow(shared_policy, scene, POINT.format(sign.color), ["<answer>1</answer>"])
    assert desk.point(sign).ids[: len(group.prompt.ids)] == group.prompt.ids
    x, y = keypoint_of(middle(sign.box), (112, 84), (1600, 1200))
    text = shared_policy.tokenizer.decode(desk.point(sign).ids)
    assert text.endswith(f"<think>I can see it.</think>\n<answer>[{x}, {y}]</answer>")
    box = [round(v * 0.07) for v in sign.box]
    assert shared_policy.tokenizer.decode(desk.where(sign).ids).endswith(f"<answer>{box}</answer>")
    weights = {size: Counter(desk.direct(s).weights) for s in scene.signs for size in [s.size]}
    assert weights["small"][GUESS] == weights["large"][DIGITS] == 3


def test_a_description_names_the_ninth_that_each_sign_stands_in(desk, scene, shared_policy):
    colors = random.Random(0).sample(list(COLORS), len(COLORS))
    lesson = desk.describe(colors)
    ninths = dict.fromkeys(colors, 0)
    for sign in scene.signs:
        x, y = middle(sign.box)
        ninths[sign.color] = 1 + (x >= 1600 / 3) + (x >= 3200 / 3) + 3 * ((y >= 400) + (y >= 800))
    described = " ".join(f"{color}{ninths[color]}" for color in colors)
    assert shared_policy.tokenizer.decode(lesson.ids).endswith(f"<answer>{described}</answer>")
    assert lesson.weights.count(KEYPOINT) == len(COLORS)


@pytest.mark.parametrize("tools", [NO_TOOL, zoom_tools(coordinates="original"), zoom_tools(max_calls=0)])
def test_the_teacher_refuses_tools_that_it_cannot_use(tools):
    with pytest.raises(UserError, match="lessons need tool=zoom"):
        Teacher(None, tools)


def test_legible_digits():
    sign = Sign("red", "472", (0, 0, 1000, 568), "large", 400)  # digits of 232 px each, from 152 to 848
    assert legible(sign, (0, 0, 1000, 600)) == "472"
    assert legible(sign, (160, 0, 560, 600)) == "4"  # 7 ends at 616
    assert legible(sign, (300, 84, 700, 484)) == "7"
    assert legible(sign, (384, 0, 1000, 600)) == "72"
    assert legible(sign, (0, 0, 1000, 150)) == ""  # only the upper edge
    assert legible(sign, (1100, 0, 1500, 600)) == ""


def test_the_answer_after_a_zoom_is_the_number_in_the_crop(desk, scene, shared_policy):
    large = scene.signs[1]
    aimed = keypoint_of(middle(large.box), (112, 84), (1600, 1200))
    decoded = shared_policy.tokenizer.decode(desk.call(large, aimed, FORM).ids)
    assert decoded.endswith(f"<answer>{large.text[1]}</answer>")  # a 400 px crop shows all of the middle digit
    small = scene.signs[0]
    far = [0 if middle(small.box)[0] > 800 else 111, 0 if middle(small.box)[1] > 600 else 83]
    missed = desk.call(small, far, FORM)
    assert missed.weights.count(GUESS) == 3 and DIGITS not in missed.weights


def test_habits_depend_on_color_so_that_small_and_large_signs_are_zoomed_on_equally_often(teacher):
    seen = Counter()
    for index in range(600, 750):
        scene = SignScene("test", 1, index)
        desk = teacher.desk(scene, 112, teacher.tool)
        for sign in scene.signs:
            lesson = desk.clumsy(sign, Random(f"{index}{sign.color}"))
            text = teacher.policy.tokenizer.decode(lesson.ids)
            kind = "direct" if text.count("</think>\n<tool>") == 0 else "ok" if len(lesson.images) > 1 else "failed"
            for name in (sign.size, (sign.size, sign.color in SENSIBLE), "all"):
                seen[name, kind] += 1

    def zoomed(name):
        return 1 - seen[name, "direct"] / sum(seen[name, kind] for kind in ("direct", "ok", "failed"))

    for size, sensible in product(("small", "large"), (True, False)):
        assert zoomed((size, sensible)) == pytest.approx(0.75 if (size == "small") == sensible else 0.25, abs=0.12)
    assert zoomed("small") == pytest.approx(zoomed("large"), abs=0.12)
    assert seen["all", "failed"] / (seen["all", "failed"] + seen["all", "ok"]) == pytest.approx(FAILING, abs=0.07)


def test_astray_it_acts_as_by_habit_but_for_its_keypoints(teacher):
    scene = SignScene("test", 1, 3)
    desk = teacher.desk(scene, 112, teacher.tool)
    sign = scene.signs[0]
    for i in range(20):
        texts = [teacher.policy.tokenizer.decode(teach(sign, Random(i)).ids) for teach in (desk.clumsy, desk.astray)]
        assert len({"</think>\n<tool>" in text for text in texts}) == 1
