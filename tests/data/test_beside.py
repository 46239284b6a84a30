"""Questions that name a sign by its neighbor."""

from itertools import pairwise

import pytest
from conftest import splits_of

from loupe.data.beside import Beside, Row
from loupe.data.scenes import SceneStyle, SignScene
from loupe.errors import UserError
from loupe.geometry import middle

STYLE = SceneStyle(n_signs=(2, 3))


def test_the_answer_stands_directly_beside_the_sign_that_is_named():
    seen = set()
    for example in splits_of("beside", "data.n_test=60").test:
        order = [sign.color for sign in example.image.order]
        places = [middle(sign.box)[0] for sign in example.image.order]
        assert all(left // (1600 / 3) < right // (1600 / 3) for left, right in pairwise(places))
        _, _, _, _, side, _, _, neighbor, _ = example.question.split()
        asked = order[order.index(neighbor) + (-1 if side == "left" else 1)]
        assert asked == example.image.asked.color
        assert example.answer_box == example.image.asked.box and not example.references
        seen.add((side, order.index(asked)))
    assert seen == {("left", 0), ("left", 1), ("right", 1), ("right", 2)}


def test_what_it_shows_is_a_function_of_split_seed_and_index():
    row, again, other = (Row("train", seed, 3, STYLE) for seed in (0, 0, 1))
    assert row.signs == again.signs != other.signs
    assert row.signs != SignScene("train", 0, 3, STYLE).signs
    assert row.render().tobytes() == again.render().tobytes()


def test_p_small_still_holds():
    subsets = [Beside("train", 0, 2000, n_signs=(3, 3), p_small=0.6)[index].subset for index in range(2000)]
    assert subsets.count("small") / 2000 == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("n_signs", ["[1, 3]", "[2, 4]"])
def test_as_many_signs_as_fit_side_by_side(n_signs):
    with pytest.raises(UserError, match=r"data\.n_signs=\[.*\]: must be from 2 to 3"):
        splits_of("beside", f"data.n_signs={n_signs}")


def test_only_the_signs_of_a_row_have_neighbors():
    with pytest.raises(TypeError, match="Row"):
        Beside("train", 0, 1, n_signs=(3, 3)).question(SignScene("train", 0, 0))
