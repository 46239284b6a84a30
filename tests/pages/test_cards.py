import pytest
from helpers.recorded import answer, zoomed

from loupe.pages.cards import MOST_CHARACTERS, VALIDATION, gallery, pictures_of, pointed


def test_groups_are_what_is_compared():
    """The answers to a question at one training step; those before and after training; those under each condition."""
    rows = [
        answer("a", step=26, split="train"),
        answer("a", step=26, split="train", sample=1),
        answer("a", step=51, split="train"),
    ]
    rows += [
        answer("a", step=0, split="before"),
        answer("a", step=60, split="after"),
        answer("b", step=0, split="before"),
    ]
    groups = gallery(rows, 10)["groups"]
    assert [(group["id"], group["place"], len(group["cards"])) for group in groups] == [
        ("a", "step-26", 2),
        ("a", "step-51", 1),
        ("a", "held-out", 2),
        ("b", "held-out", 1),
    ]
    assert [card["place"] for card in groups[2]["cards"]] == ["before", "after"]
    asked = gallery([answer("a", condition="greedy"), answer("a", condition="no_tool")], 10)["groups"]
    assert [[card["place"] for card in group["cards"]] for group in asked] == [["greedy", "no_tool"]]


def test_the_validations_of_a_question_are_a_group_of_their_own():
    rows = [answer("a", step=step, split="val") for step in (0, 25)] + [answer("a", step=0, split="before")]
    film, other = gallery(rows, 10)["groups"]
    assert film["place"] == VALIDATION and film["step"] is None
    assert [(card["place"], card["step"]) for card in film["cards"]] == [("val-0", 0), ("val-25", 25)]
    assert other["place"] == "held-out"


def test_a_group_has_the_picture_that_any_of_its_rows_has():
    kept = {"picture": "a.jpg", "size": [4, 3], "targets": [[0, 0, 1, 1]], "shown": ["b.png"]}
    (group,) = gallery([answer("a", condition="greedy"), answer("a", condition="no_tool", **kept)], 10)["groups"]
    assert (group["picture"], group["size"], group["targets"]) == ("a.jpg", [4, 3], [[0, 0, 1, 1]])
    assert pictures_of([group]) == {"a.jpg", "b.png"}
    assert group["references"] == ["7"] and group["cards"][0]["terms"] == {"accuracy": 1.0}


def test_whether_any_call_showed_a_part_of_the_picture():
    assert pointed(gallery([answer("a"), zoomed("b")], 10)) and not pointed(gallery([answer("a"), zoomed("b")], 1))


def test_rows_of_earlier_runs_lack_pictures_and_what_was_told():
    (group,) = gallery([answer("a", step=1, split="train")], 10)["groups"]
    assert group["picture"] is None and (group["cards"][0]["shown"], group["cards"][0]["told"]) == ([], [])


@pytest.mark.parametrize(("most", "left_out"), [(2, 1), (3, 0)])
def test_what_does_not_fit_is_counted(most, left_out):
    found = gallery([answer(name, step=1, split="train") for name in "abc"], most)
    assert (len(found["groups"]), found["left_out"]) == (most, left_out)


def test_very_long_texts_are_cut_and_say_so():
    long = "x" * (MOST_CHARACTERS + 1_000_000)
    (group,) = gallery([answer("a", step=1, split="train", answer=long, turns=[long])], 10)["groups"]
    assert group["cards"][0]["turns"][0].endswith("x… (1,000,000 more characters)")
    assert len(group["cards"][0]["answer"]) < MOST_CHARACTERS + 100
