"""Thoughts that name a sign, and what the answers after them owe to it."""

import pytest

from loupe.data.beside import Row
from loupe.data.drawing import COLORS
from loupe.data.scenes import SceneStyle
from loupe.errors import UserError
from loupe.rewards.boxes import box_iou
from loupe.studies import thoughts as study

STYLE = SceneStyle(n_signs=(3, 3))
SCENES = {f"signs/test/15/{index}": Row("test", 15, index, STYLE) for index in range(2)}


def answer(key, thought, sign, sample=0):
    """An answer with the box of ``sign``."""
    asked = SCENES[key].asked
    return {
        **{"id": key, "cluster": None, "cycle": None, "subset": asked.size, "sample": sample, "condition": "sampled"},
        **{"turns": [f"<think>{thought}</think>\n<answer>..</answer>"], "box": sign and list(map(float, sign.box))},
        "iou": box_iou(sign.box, asked.box) if sign else 0.0,
    }


def named(key, color, placed=None):
    stand = {sign.color: place for place, sign in enumerate(SCENES[key].order, 1)}
    placed = placed or " ".join(f"{color}{stand.get(color, 0)}" for color in COLORS)
    return f"I see {placed}. Left of red2 is 1: {color}."


def test_thoughts_are_compared_with_the_scene_and_with_the_answer():
    one, two = SCENES
    asked, other, _ = SCENES[one].signs
    rows = [
        answer(one, named(one, asked.color), asked),
        answer(one, "I can see it.", other, 1),
        answer(two, named(two, SCENES[two].signs[1].color), SCENES[two].signs[1]),
        answer(two, named(two, SCENES[two].signs[1].color, "red1 blue2"), SCENES[two].asked, 1),
        answer(two, named(two, "beige"), SCENES[two].asked, 2),
        answer(two, named(two, SCENES[two].signs[2].color), None, 3),
    ]
    found = study.thoughts(rows, SCENES)
    assert found["n"] == 6 and found["named"] == 5 / 6
    assert (found["right"], found["placed"], found["follows"]) == (1 / 5, 4 / 5, 1 / 3)  # beige is none to follow
    assert (
        found["iou/right"] == 1
        and found["iou/wrong"] == 2 / 4
        and found["iou/silent"] == found["iou/named"] - 3 / 5 == 0
    )
    assert (found["gain"], found["gain/n"]) == (1, 1)  # only the first question was answered both ways


def test_where_there_is_nothing_to_count():
    one, _ = SCENES
    found = study.thoughts([answer(one, "I can see it.", SCENES[one].asked)], SCENES)
    assert found["named"] == 0 and found["iou/silent"] == 1
    assert {found[key] for key in ("right", "placed", "follows", "iou/named", "iou/right", "iou/wrong")} == {None}
    assert "gain" not in found


def test_scenes_are_those_of_the_questions():
    data = {"_target_": "loupe.data.beside.beside_datamodule"} | vars(STYLE)
    assert study._scenes({"data": data}, SCENES) == SCENES
    with pytest.raises(UserError, match="evaluate with data=beside"):
        study._scenes({"data": data | {"_target_": "loupe.data.signs.boxes_datamodule"}}, SCENES)
