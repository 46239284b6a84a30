"""Rendered signs: reproducible, well laid out, readable where they should be."""

import pickle
from hashlib import sha256
from itertools import combinations, islice
from random import Random

import numpy as np
import pytest

from loupe.data.signs import COLORS, Boxes, SceneStyle, Signs, SignScene, annotate
from loupe.errors import UserError

# The pixels of the first training scene: they change only with the drawing code or with Pillow.
TRAIN_0_0 = "109ca3fd5f76a6e0010ea4ae628938a8a283eed978fd0f27b40c07248c7e7492"


def pixels(scene: SignScene) -> bytes:
    return scene.render().tobytes()


def scenes(count: int, **style: object) -> list[SignScene]:
    return [SignScene("train", 0, index, SceneStyle(**style)) for index in range(count)]


def test_recorded_picture():
    assert sha256(pixels(SignScene("train", 0, 0))).hexdigest() == TRAIN_0_0


def test_same_key_same_pixels_and_other_key_other_pixels():
    keys = [("train", 0, 0), ("train", 0, 1), ("train", 1, 0), ("test", 0, 0)]
    first, second = ([sha256(pixels(SignScene(*key))).digest() for key in keys] for _ in range(2))
    assert first == second
    assert len(set(first)) == 4


def test_rendering_does_not_need_the_layout_first():
    scene, fresh = SignScene("train", 0, 3), SignScene("train", 0, 3)
    assert scene.signs == fresh.signs
    assert pixels(scene) == pixels(pickle.loads(pickle.dumps(SignScene("train", 0, 3))))


@pytest.mark.parametrize("style", [{}, {"p_small": 0}, {"p_small": 1}, {"n_signs": [4, 4], "p_small": 0.3}])
def test_layout(style):
    low, high = style.get("n_signs", (2, 3))
    for scene in scenes(300, **style):
        assert low <= len(scene.signs) <= high
        assert len({sign.color for sign in scene.signs}) == len(scene.signs)
        assert sum(sign.size == "large" for sign in scene.signs) <= 2
        for sign in scene.signs:
            x1, y1, x2, y2 = sign.box
            assert 0 <= x1 < x2 <= 1600 and 0 <= y1 < y2 <= 1200
            assert len(sign.text) == 3 and sign.text.isdigit()
            assert 400 < x2 - x1 < 1000 if sign.size == "large" else x2 - x1 <= 254
        for one, other in combinations(scene.signs, 2):
            apart_x = one.box[2] + 10 <= other.box[0] or other.box[2] + 10 <= one.box[0]
            apart_y = one.box[3] + 10 <= other.box[1] or other.box[3] + 10 <= one.box[1]
            assert apart_x or apart_y


def test_p_small_holds_for_the_asked_sign():
    subsets = [Signs("train", 0, 2000, p_small=0.6)[index].subset for index in range(2000)]
    assert subsets.count("small") / 2000 == pytest.approx(0.6, abs=0.04)  # 3.6 standard errors
    assert {scene.asked.size for scene in scenes(100, p_small=0)} == {"large"}
    assert {scene.asked.size for scene in scenes(100, p_small=1)} == {"small"}


def test_digit_heights_and_target_boxes():
    for scene in scenes(25):
        picture = np.asarray(scene.render())
        for sign in scene.signs:
            x1, y1, x2, y2 = sign.box
            inside = picture[y1:y2, x1:x2]
            assert (inside[0] == 20).all() and (inside[:, -1] == 20).all()  # the outline, not covered
            assert 0.5 < (inside == COLORS[sign.color]).all(axis=-1).mean() < 0.95
            ink = (inside == 10).all(axis=-1) | (inside == 255).all(axis=-1)
            rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert 54 <= height <= 76 if sign.size == "small" else height > 230
            assert width > 1.8 * height  # three digits side by side
            assert abs(rows[0] + rows[-1] + 1 - (y2 - y1)) <= 4  # centred


def test_light_says_where():
    scene = SignScene("train", 0, 0)
    picture = np.asarray(scene.render()).astype(int)
    red, green, blue = picture[0, :, 0], picture[0, :, 1], picture[:, 0, 2]
    assert (red[0], red[800], red[1599]) == (60, 135, 209) and (np.diff(red) >= 0).all()
    assert (blue[0], blue[600], blue[1199]) == (60, 135, 209) and (np.diff(blue) >= 0).all()
    assert 90 <= green[0] <= 160 and (green == green[0]).all()


def test_larger_canvas():
    scene = SignScene("train", 0, 0, SceneStyle(canvas=[3200, 1800]))
    assert scene.render().size == (3200, 1800)


def test_example():
    examples = Signs("train", 3, 20)
    example = examples[17]
    assert example.id == "signs/train/3/17"
    assert example.image == SignScene("train", 3, 17)
    asked = example.image.signs[0]
    assert example.question == f"What number is on the {asked.color} sign?"
    assert (example.target_boxes, example.subset) == ((asked.box,), asked.size)
    assert asked.text in example.references
    assert len(list(islice(examples, 30))) == len(examples) == 20
    assert examples[17] == example


def test_references():
    wrong = []
    for index in range(300):
        references = annotate("472", Random(f"people/{index}"))
        dissent = [answer for answer in references if answer != "472"]
        assert len(references) == 10
        assert len(set(dissent)) == len(dissent) <= 3  # all different: none scores more than 1/3
        assert all(answer.isdigit() and 2 <= len(answer) <= 3 for answer in dissent)
        wrong.append(len(dissent))
    assert set(wrong) == {0, 1, 2, 3}
    assert all(len(answer) == 1 for answer in annotate("4", Random("one digit")))


def test_near_misses_of_a_number():
    seen = {answer for index in range(500) for answer in annotate("11", Random(index))}
    assert seen == {"11", "21", "41", "71", "12", "14", "17", "1"}


def test_splits_and_seeds_are_disjoint():
    def layouts(split: str, seed: int) -> set:
        return {Signs(split, seed, 50)[index].image.signs for index in range(50)}

    parts = [layouts("train", 0), layouts("train", 1), layouts("validation", 0), layouts("test", 0)]
    assert len(set.union(*parts)) == 200


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"p_small": 1.5}, "p_small=1.5"),
        ({"p_small": "often"}, "p_small=often"),
        ({"size": 0}, "data.n_train=0"),
        ({"seed": -1}, "seed=-1"),
        ({"n_signs": [3, 2]}, r"n_signs=\[3, 2\]"),
        ({"n_signs": [0, 2]}, "n_signs=0"),
        ({"n_signs": [2, 5]}, r"n_signs=\[2, 5\]"),
        ({"n_signs": 3}, "n_signs=3"),
        ({"n_signs": [2, 3], "colors": 2}, "more signs than the 2 colors"),
        ({"colors": 9}, "colors=9"),
        ({"colors": ["red", "mauve"]}, "mauve"),
        ({"digits": 4}, "digits=4"),
        ({"canvas": [800, 600]}, "canvas=800"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(UserError, match=named):
        Signs(**{"split": "train", "seed": 0, "size": 4, **options})


def test_boxes_ask_where_the_same_signs_are():
    for sign, box in zip(Signs("test", 0, 5), Boxes("test", 0, 5), strict=True):
        assert (box.id, box.image, box.subset) == (sign.id, sign.image, sign.subset)
        assert box.answer_box == sign.target_boxes[0] and box.references == ()
        assert box.question == sign.question.replace("What number is on", "Where is")
