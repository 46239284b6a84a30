"""The ways in which a tool call fails. A failure is a result, not an exception: the model is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CallError(StrEnum):
    """Kinds of failed calls; the values are the statuses of ``ToolEvent``."""

    UNCLOSED = "unclosed"
    """the <tool> tag was never closed"""
    TOO_LONG = "too_long"
    """more characters than a call may have"""
    NOT_YAML = "not_yaml"
    """also YAML beyond what a call needs: anchors, aliases, tags, a key written twice, deep nesting"""
    NOT_A_MAPPING = "not_a_mapping"
    UNKNOWN_TOOL = "unknown_tool"
    MISSING_ARGUMENT = "missing_argument"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    BAD_KEYPOINT = "bad_keypoint"
    """not two plain decimal integers"""
    OUT_OF_BOUNDS = "out_of_bounds"
    """the keypoint lies outside the picture"""
    OBSERVATION_TOO_LONG = "observation_too_long"
    """the tool's result would not fit into the context"""
    OVER_BUDGET = "over_budget"
    """a further call after the allowed number of calls, or any call where there is no tool"""


@dataclass(frozen=True)
class Failure:
    """A call that was not executed.

    message: one short sentence for the model. It repeats nothing that the model wrote except numbers, so that
        no special token can get into an observation that way.
    arguments: those of the call, if it could be read and failed only then.
    """

    kind: CallError
    message: str
    arguments: dict | None = None
