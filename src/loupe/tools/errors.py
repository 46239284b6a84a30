"""The ways in which a tool call can fail. A failure is a result, not an exception: the policy gets to read it."""

from dataclasses import dataclass
from enum import StrEnum


class CallError(StrEnum):
    """Kinds of failed calls; the values are the statuses of ``ToolEvent``."""

    UNCLOSED = "unclosed"  # the <tool> tag was never closed
    TOO_LONG = "too_long"  # more than ``parse.MAX_CHARACTERS`` characters
    NOT_YAML = "not_yaml"  # includes YAML that no call needs: anchors, aliases, tags, duplicate keys, deep nesting
    NOT_A_MAPPING = "not_a_mapping"
    UNKNOWN_TOOL = "unknown_tool"
    MISSING_ARGUMENT = "missing_argument"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    BAD_KEYPOINT = "bad_keypoint"  # not two plain decimal integers
    OUT_OF_BOUNDS = "out_of_bounds"  # the keypoint lies outside the picture
    OBSERVATION_TOO_LONG = "observation_too_long"  # the result does not fit into the context
    OVER_BUDGET = "over_budget"  # a call beyond the allowed number, or any call where there is no tool


@dataclass(frozen=True)
class Failure:
    """A call that was not executed.

    message: one short sentence for the policy. It quotes nothing that the policy wrote except numbers, so that no
        special token can reach an observation that way. arguments: those of a call that failed after it was parsed.
    """

    kind: CallError
    message: str
    arguments: dict | None = None
