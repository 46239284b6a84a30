"""Questions about rendered signs, and the answers of their annotators."""

from itertools import islice
from random import Random

import pytest

from loupe.data.scenes import SignScene
from loupe.data.signs import Boxes, Signs, annotate, signs_datamodule
from loupe.errors import UserError


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


def test_p_small_holds_for_the_sign_in_question():
    subsets = [Signs("train", 0, 2000, p_small=0.6)[index].subset for index in range(2000)]
    assert subsets.count("small") / 2000 == pytest.approx(0.6, abs=0.04)  # 3.6 standard errors


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
        ({"size": 0}, "data.n_train=0"),
        ({"size": 0, "split": "validation"}, "data.n_val=0"),
        ({"size": 10**10}, "data.n_train=10000000000: must be a whole number from 1 to 10000000"),
        ({"seed": -1}, "seed=-1"),
        ({"digits": 4}, "digits=4"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(UserError, match=named):
        Signs(**{"split": "train", "seed": 0, "size": 4, **options})


def test_the_seed_of_held_out_scenes_is_named():
    sizes = {"n_train": 1, "n_val": 1, "n_test": 1, "batch_size": 1, "eval_batch_size": 1}
    with pytest.raises(UserError, match=r"data\.heldout_seed=x"):
        signs_datamodule(seed=0, heldout_seed="x", **sizes)


def test_boxes_ask_where_the_same_signs_are():
    for sign, box in zip(Signs("test", 0, 5), Boxes("test", 0, 5), strict=True):
        assert (box.id, box.image, box.subset) == (sign.id, sign.image, sign.subset)
        assert box.answer_box == sign.target_boxes[0] and box.references == ()
        assert box.question == sign.question.replace("What number is on", "Where is")
