"""Comparisons that fail with the name of each tensor that differs and by how much, instead of printing the tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

Values = torch.Tensor | Sequence[float]


def assert_close(
    actual: Values | Mapping[str, Values],
    expected: Values | Mapping[str, Values],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    name: str = "values",
) -> None:
    """Each element is within ``atol + rtol * |expected|``; by default, equal to the last bit.

    actual, expected: tensors or lists of floats, or dicts of them with the same keys. name: stands in the message for
    values that are no dict.
    """
    __tracebackhide__ = True
    failures = []
    for key, (ours, theirs) in _pairs(actual, expected, name).items():
        try:
            torch.testing.assert_close(_tensor(ours), _tensor(theirs), rtol=rtol, atol=atol)
        except AssertionError as error:
            failures.append(f"{key}: {' '.join(str(error).split())}")
    assert not failures, _message(failures)


def assert_norms_close(actual: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], rtol: float) -> None:
    """For each tensor, the norm of the difference is below ``rtol`` times the norm of what is expected."""
    __tracebackhide__ = True
    failures = []
    for key, (ours, theirs) in _pairs(actual, expected, "").items():
        distance = ((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)).item()
        if not distance < rtol:  # also where it is not a number
            largest = (ours - theirs).abs().max().item()
            failures.append(f"{key}: relative norm of the difference {distance:.3g} (largest {largest:.3g})")
    assert not failures, _message(failures) + f"\nallowed: {rtol:g}"


def _pairs(actual, expected, name: str) -> dict:
    if not isinstance(expected, Mapping):
        return {name: (actual, expected)}
    missing, extra = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
    assert not missing and not extra, f"missing: {missing}, not expected: {extra}"
    return {key: (actual[key], expected[key]) for key in expected}


def _tensor(values: Values) -> torch.Tensor:
    return values if isinstance(values, torch.Tensor) else torch.tensor(values)


def _message(failures: list[str], most: int = 10) -> str:
    left = [f"and {len(failures) - most} more"] if len(failures) > most else []
    return "\n".join(["", *failures[:most], *left])
