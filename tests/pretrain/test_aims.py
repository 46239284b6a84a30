from collections import Counter
from random import Random

import numpy as np
import pytest
from conftest import zoom_tools

from loupe.geometry import Frame, View
from loupe.pretrain.aims import Aims, careless_box, keypoint_of
from loupe.tools.zoom import crop_box, locate, locate_box

SHOWN, ORIGINAL = (112, 84), (1600, 1200)
POINTS = Aims("keypoint", 400, SHOWN, ORIGINAL)
BOXES = Aims("box", 400, SHOWN, ORIGINAL)


def test_careless_boxes_are_too_large():
    for seed in range(50):
        x1, y1, x2, y2 = careless_box((100, 100, 300, 200), (1600, 1200), Random(seed))
        assert 0 <= 100 - x1 <= 120 and 0 <= 100 - y1 <= 60 and 0 <= x2 - 300 <= 120 and 0 <= y2 - 200 <= 60
        assert careless_box((0, 0, 1600, 1200), (1600, 1200), Random(seed)) == (0, 0, 1600, 1200)


def test_keypoints_point_back_to_their_origin():
    for point in [(0, 0), (1599, 1199), (813.5, 401), (-20, 5000)]:
        keypoint = keypoint_of(point, (112, 84), (1600, 1200))
        back = locate(keypoint, Frame.of("shown", (112, 84), (1600, 1200)))
        inside = (min(max(point[0], 0), 1599), min(max(point[1], 0), 1199))
        assert all(abs(a - b) <= 1600 / 112 for a, b in zip(back, inside, strict=True))


def test_a_box_shows_what_a_keypoint_would_have_shown_to_within_a_pixel():
    frame = Frame.of("shown", SHOWN, ORIGINAL)
    for point in [(800, 600), (30, 1150), (1599, 0)]:
        square = crop_box(point, 400, ORIGINAL)
        assert np.abs(np.subtract(locate_box(BOXES.at(point), frame), square)).max() <= 1600 / 112
        keypoint = POINTS.at(point)
        assert np.abs(np.subtract(crop_box(locate(keypoint, frame), 400, ORIGINAL), square)).max() <= 1600 / 112


def test_without_a_tool_no_box_can_be_aimed():
    with pytest.raises(ValueError, match="without a tool"):
        Aims("box", None, SHOWN, ORIGINAL).at((0, 0))


def test_pulled_aims_point_towards_the_middle_of_the_picture():
    point = (300, 900)
    for pull, expected in ((0.0, point), (0.5, (550, 750))):
        points = np.array([POINTS.near(point, Random(i), pull) for i in range(300)])
        assert (points.mean(0) + 0.5) * 1600 / 112 == pytest.approx(expected, abs=15)
        boxes = np.array([BOXES.near(point, Random(i), pull) for i in range(300)])
        assert (boxes[:, :2] + boxes[:, 2:]).mean(0) / 2 * 1600 / 112 == pytest.approx(expected, abs=15)


@pytest.mark.parametrize("form", ["keypoint_yaml", "box_yaml", "box_json", "function"])
def test_bad_aims_fail_in_every_form(form, scene):
    tools = zoom_tools(call=form)
    picture = scene.render()
    aims = Aims(tools.form.aim, 400, SHOWN, picture.size)
    kinds = Counter()
    for seed in range(30):
        text = tools.form.write("zoom", {tools.form.aim: str(aims.bad(Random(seed)))})
        kinds[tools.execute(text, View.of_question(picture, SHOWN, "shown")).kind] += 1
    assert len(kinds) >= 2 and kinds["out_of_bounds"] > 3
