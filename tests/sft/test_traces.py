from pathlib import Path

import pytest
from conftest import examples

from loupe.errors import UserError
from loupe.records import Example
from loupe.sft.traces import Trace, by_question, hold_out, picture_name


def trace(number: int, picture: str) -> Trace:
    return Trace(str(number), lambda: None, f"{picture}/{number % 2}", picture, ("a",))


TRACES = [trace(number, f"picture {number // 3}") for number in range(60)]


def test_all_traces_about_a_picture_are_held_out_together():
    learned, heldout = hold_out(TRACES, 0.25)
    assert len({t.picture for t in heldout}) == 5 and len(heldout) == 15 and len(learned) == 45
    assert not {t.picture for t in learned} & {t.picture for t in heldout}
    assert hold_out(TRACES[::-1], 0.25)[1] == heldout[::-1]  # whatever the order


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.04, 0), (0.05, 3)])
def test_small_shares(share, count):
    assert len(hold_out(TRACES, share)[1]) == count


def test_something_must_be_left_to_learn():
    with pytest.raises(UserError, match=r"heldout=1: must be a number from 0 to 0\.9"):
        hold_out(TRACES, 1)


def test_traces_with_the_same_prompt_are_together():
    assert [[t.name for t in group] for group in by_question(TRACES[:5])] == [["0", "2"], ["1"], ["3"], ["4"]]


def test_pictures_are_told_apart(tmp_path):
    sign, other = examples(2)
    encoded = [Example("a", data, "?", ()) for data in (b"1", b"2", b"1")]
    names = [picture_name(example) for example in (sign, other, *encoded, Example("a", Path("x"), "?", ()))]
    assert names[2] == names[4] and len(set(names)) == 5
    assert picture_name(Example("a", b"1", "?", (), earlier_images=(b"2",))) not in names
