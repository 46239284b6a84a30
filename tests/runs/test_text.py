import pytest

from loupe.runs.text import comparison, format_value, in_columns


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.250"),
        (6, "6"),
        (None, "-"),
        ("abc", "abc"),
        ({"mean": 0.5, "low": 0.25, "high": 0.75, "n": 6}, "0.500 [0.250, 0.750]"),
    ],
)
def test_format_value(value, text):
    assert format_value(value) == text


def test_a_comparison_has_a_row_for_each_metric_and_part():
    before = {"n": {"all": 6}, "pixels": {"all": 3.0}, "score": {"all": 0.25, "small": None}}
    after = {"score": {"all": {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 6}, "small": 0.0}, "n": {"all": 6}}
    assert comparison(before, after) == [
        ["score/all", "0.250", "0.500 [0.250, 0.750]"],
        ["score/small", "-", "0.000"],
        ["n/all", "6", "6"],
    ]


def test_a_comparison_with_other_test_questions_has_gaps():
    after = {"score": {"all": 0.5}}
    assert comparison({"score": {"all": 0.25, "small": 0.0}, "iou": {"all": 0.5}}, after) == [
        ["score/all", "0.250", "0.500"],
        ["score/small", "0.000", "-"],
        ["iou/all", "0.500", "-"],
    ]


def test_columns_are_as_wide_as_their_longest_cell():
    assert (
        in_columns([["held-out", "before", "x"], ["n", "1", "10000"]])
        == "held-out  before      x\nn              1  10000"
    )
