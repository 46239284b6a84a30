"""Parses the text of a tool call into a call or a failure. Never raises, whatever the text.

A call is a flat YAML mapping. The parser accepts only the YAML that a call needs: plain decimals are integers, every
other scalar is a string. YAML 1.1 would silently turn 010 into 8 and 1:30 into 90, which is not what the policy means.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from loupe.tools.errors import CallError, Failure

MAX_CHARACTERS = 200

ArgumentReader = Callable[[object], Any]
"""Turns a value parsed from YAML into the argument, or a Failure."""


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict


class _Loader(yaml.SafeLoader):
    """YAML without anchors, aliases, tags and duplicate keys; plain decimals are the only scalars besides strings."""

    yaml_implicit_resolvers: ClassVar[dict] = {}  # type: ignore[misc]  # the stubs take it for an instance's

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchor, alias or tag", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "duplicate key", node.start_mark)
        return mapping


# Nine digits exceed any picture, and keep the numbers in messages short.
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,8})\Z"), list("-0123456789"))


def parse_call(text: str, tool: str, arguments: Mapping[str, ArgumentReader]) -> Call | Failure:
    """Parse ``text``, which stands between <tool> and </tool>.

    tool: the only valid name. arguments: those that the call must have, and no others, each with its reader.
    """
    if len(text) > MAX_CHARACTERS:
        return Failure(CallError.TOO_LONG, f"Error: the call is longer than {MAX_CHARACTERS} characters.")
    try:
        mapping = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):  # the last two: "\UFFFFFFFF"
        return Failure(CallError.NOT_YAML, "Error: the call is not valid YAML.")
    if not isinstance(mapping, dict):
        return Failure(CallError.NOT_A_MAPPING, "Error: the call is not a YAML mapping.")
    if failure := _check_names(mapping, tool, arguments):
        return failure
    values = {name: read(mapping[name]) for name, read in arguments.items()}
    return next((value for value in values.values() if isinstance(value, Failure)), Call(tool, values))


def read_keypoint(value: object) -> list[int] | Failure:
    """[x, y], two integers; bools, floats and quoted numbers are refused."""
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value
    return Failure(CallError.BAD_KEYPOINT, "Error: keypoint must be two integers, [x, y].")


def _check_names(mapping: dict, tool: str, arguments: Mapping[str, ArgumentReader]) -> Failure | None:
    wanted = ["name", *arguments]
    if "name" in mapping and mapping["name"] != tool:
        return Failure(CallError.UNKNOWN_TOOL, f"Error: unknown tool; the only tool is {tool}.")
    if missing := [name for name in wanted if name not in mapping]:
        return Failure(CallError.MISSING_ARGUMENT, f"Error: the call has no {missing[0]}.")
    if len(mapping) > len(wanted):
        return Failure(CallError.UNEXPECTED_ARGUMENT, f"Error: the call must have only {' and '.join(wanted)}.")
    return None
