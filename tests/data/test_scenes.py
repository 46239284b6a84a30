"""The layout of rendered signs: reproducible, and with room for every sign."""

import pickle
from hashlib import sha256
from itertools import combinations

import pytest

from loupe.data.scenes import SceneStyle, SignScene
from loupe.errors import UserError


def pixels(scene: SignScene) -> bytes:
    return scene.render().tobytes()


def scenes(count: int, **style: object) -> list[SignScene]:
    return [SignScene("train", 0, index, SceneStyle(**style)) for index in range(count)]


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


def test_p_small_of_0_and_1():
    assert {scene.asked.size for scene in scenes(100, p_small=0)} == {"large"}
    assert {scene.asked.size for scene in scenes(100, p_small=1)} == {"small"}


@pytest.mark.parametrize(
    ("style", "named"),
    [
        ({"p_small": 1.5}, "p_small=1.5"),
        ({"p_small": "often"}, "p_small=often"),
        ({"n_signs": [3, 2]}, r"n_signs=\[3, 2\]"),
        ({"n_signs": [0, 2]}, "n_signs=0"),
        ({"n_signs": [2, 5]}, r"n_signs=\[2, 5\]"),
        ({"n_signs": 3}, "n_signs=3"),
        ({"n_signs": [2, 3], "colors": 2}, "more signs than the 2 colors"),
        ({"colors": 9}, "colors=9"),
        ({"colors": ["red", "mauve"]}, "mauve"),
        ({"digits": 4}, "digits=4"),
        ({"canvas": [800, 600]}, "canvas=800"),
        ({"canvas": [10**6, 10**6]}, r"canvas=\[1000000, 1000000\]: must have 200 million pixels or less"),
        ({"clutter": 10**9}, "clutter=1000000000: must be a whole number from 0 to 10000"),
    ],
)
def test_a_bad_style_is_named(style, named):
    with pytest.raises(UserError, match=named):
        SceneStyle(**style)
