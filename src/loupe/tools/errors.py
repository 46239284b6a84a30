"""The ways in which a tool call can fail. A failure is a result, not an exception: the policy gets to read it."""

from dataclasses import dataclass
from enum import StrEnum


class CallError(StrEnum):
    """Kinds of failed calls; the values are the statuses of ``ToolEvent``."""

    UNCLOSED = "unclosed"  # the tag of the call was never closed
    TOO_LONG = "too_long"  # more than ``parse.MAX_CHARACTERS`` characters
    NOT_YAML = "not_yaml"  # includes YAML that no call needs: anchors, aliases, tags, duplicate keys, deep nesting
    NOT_JSON = "not_json"  # includes duplicate keys
    NOT_A_MAPPING = "not_a_mapping"
    UNKNOWN_TOOL = "unknown_tool"
    MISSING_ARGUMENT = "missing_argument"
    UNEXPECTED_ARGUMENT = "unexpected_argument"
    BAD_KEYPOINT = "bad_keypoint"  # not two plain decimal integers
    BAD_ARGUMENT = "bad_argument"  # any other argument of the wrong type or value
    NO_SUCH_IMAGE = "no_such_image"  # the call names a picture that has not been shown
    OUT_OF_BOUNDS = "out_of_bounds"  # the keypoint or box lies outside the picture
    REFUSED = "refused"  # the tool could not do what was asked
    OBSERVATION_TOO_LONG = "observation_too_long"  # the result does not fit into the context
    OVER_BUDGET = "over_budget"  # a call beyond the allowed number, or any call where there is no tool


@dataclass(frozen=True)
class Failure:
    """A call that was not executed.

    message: one short sentence for the policy, which may quote what the policy wrote.
    """

    kind: CallError
    message: str
