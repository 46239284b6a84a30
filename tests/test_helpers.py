"""The comparisons of tests.helpers: what they accept, and what they print."""

import math

import pytest
import torch
from helpers.compare import assert_close, assert_norms_close


def test_equal_and_near_values_pass():
    assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
    assert_close([1.0, 2.0], [1.0, 2.00005], atol=1e-4)
    assert_close({"a": torch.zeros(2)}, {"a": torch.zeros(2)})
    assert_norms_close({"a": torch.tensor([1.0])}, {"a": torch.tensor([1.00005])}, 1e-4)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        ({"a": [0.0], "head": [1.0, 2.5]}, {"a": [0.0], "head": [1.0, 2.0]}, r"\nhead: .*Greatest .* difference: 0\.5"),
        ([1.0], [1.0, 2.0], r"\nlogp: .*shape"),
        ([math.nan], [math.nan], r"\nlogp: "),
        ({"a": [0.0]}, {"b": [0.0]}, r"missing: \['b'\], not expected: \['a'\]"),
    ],
)
def test_what_differs_is_named(actual, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected, name="logp")


@pytest.mark.parametrize("value", [2.5, math.nan])
def test_the_parameter_whose_norm_differs_is_named(value):
    actual = {"a": torch.ones(2), "head.weight": torch.tensor([1.0, value])}
    expected = {"a": torch.ones(2), "head.weight": torch.tensor([1.0, 2.0])}
    with pytest.raises(AssertionError, match=r"^\nhead\.weight: relative norm of the difference .*\nallowed: 0\.1$"):
        assert_norms_close(actual, expected, 0.1)


def test_a_long_list_is_cut_short():
    expected = {str(i): [0.0] for i in range(13)}
    with pytest.raises(AssertionError, match=r"\nand 3 more$"):
        assert_close({key: [1.0] for key in expected}, expected)
