import time

import pytest
from conftest import bare_group

from loupe.records import Example, Trajectory
from loupe.rewards import terms
from loupe.rewards.matching import OTHER_WORDS, contains_score, exact_score, number_score


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("Stop!", ("stop",), 1),
        ("two", ("zwei", "2"), 1),  # any reference, both sides normalized
        ("stop sign", ("stop",), 0),
        ("stop or go", ("stop", "go"), 0),
        ("", ("stop",), 0),
    ],
)
def test_exact(answer, references, expected):
    assert exact_score(answer, references) == expected


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("The sign says STOP.", ("stop",), 1),
        ("It reads Main Street here", ("main street", "x"), 1),
        ("stopping", ("stop",), 0),  # whole words only
        ("street main", ("main street",), 0),
        ("stop, go, yield", ("stop",), 0),
        ("stop or go", ("stop",), 0),
        ("stop\ngo", ("stop",), 0),
        ("black and white", ("black and white",), 1),  # a reference that has the marks of a list itself
        ("it costs 1,200", ("1200",), 1),  # a comma within a number separates nothing
        ("stop " + "word " * OTHER_WORDS, ("stop",), 1),
        ("stop " + "word " * (OTHER_WORDS + 1), ("stop",), 0),
    ],
)
def test_contains(answer, references, expected):
    assert contains_score(answer, references) == expected


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("It is 1,234.5 dollars.", "1234.5", 1),
        ("$1,234", "1,234", 1),
        ("3.", "3", 1),
        ("-3", "3", 0),
        ("5-3", "3", 1),  # a range, not a negative number
        ("1e3", "1000", 1),
        (".5", "0.50", 1),
        ("1, 2, 3, 4", "3", 0),  # a list is worth its last number
        ("1 and 2, so 3", "3", 1),
        ("50%", "50 %", 1),
        ("50%", "0.5", 1),
        ("50", "50%", 1),
        ("0.5", "50%", 1),
        ("0.5%", "50%", 0),
        ("5000", "50%", 0),
        ("two dogs", "2", 1),
        ("the one with 7", "7", 1),  # words count only without digits
        ("0.3333333333", "0.33333333331", 1),
        ("0.333", "0.334", 0),
        ("many", "3", 0),
        ("abc12", "12", 0),
        ("9" * 400, "9" * 400, 0),  # infinite as a float
    ],
)
def test_number(answer, reference, expected):
    assert number_score(answer, ("77", reference)) == expected


@pytest.mark.parametrize("score", [contains_score, number_score])
@pytest.mark.parametrize("piece", ["1", "1,", "1,111,", ".", "-", " ", "or ", "1,111,111,11"])
def test_a_long_answer_takes_linear_time(score, piece):
    began = time.perf_counter()
    score(piece * 20_000, ("7",))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("metric", "answer", "score", "soft"),
    [
        ("vqa", "stop", 0.5, 0.875),  # the mean over both references
        ("exact", "stop", 1.0, 1.0),
        ("exact", "stopp", 0.0, 0.8),  # the nearest reference
        ("contains", "a stop here", 1.0, 1.0),
        ("number", "stop 4", 0.0, 0.0),
    ],
)
def test_the_example_says_how_it_is_scored(metric, answer, score, soft):
    group = bare_group(Example("q", b"", "?", ("stop", "shop"), metric=metric))
    trajectory = Trajectory(0, turns=[f"<answer>{answer}</answer>"])
    assert terms.accuracy(trajectory, group) == pytest.approx(score)
    assert terms.accuracy_leave_one_out(trajectory, group) == pytest.approx(score)
    assert terms.soft(trajectory, group) == pytest.approx(soft)
    assert terms.soft(Trajectory(0), group) == terms.accuracy(Trajectory(0), group) == 0
    assert terms.has_vqa_accuracy(group.example) == (metric == "vqa")
