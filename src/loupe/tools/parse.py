"""From the text of a tool call to a call or a failure. Never raises, whatever the text.

A call is a flat YAML mapping. Of YAML only what a call needs is read: plain decimals are integers and every
other scalar is a string. YAML 1.1 would silently turn 010 into 8 and 1:30 into 90, which is not what the model
meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from loupe.tools.errors import CallError, Failure

MAX_CHARACTERS = 200

ArgumentReader = Callable[[object], Any]
"""From a value as YAML reads it to the argument, or a Failure."""


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict


class _Loader(yaml.SafeLoader):
    """YAML without anchors, aliases, tags and repeated keys; a plain decimal is the only non-string."""

    yaml_implicit_resolvers: ClassVar[dict] = {}

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchor, alias or tag", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key written twice", node.start_mark)
        return mapping


# Nine digits are beyond any picture, and keep the numbers in messages short.
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]{0,8})\Z"), list("-0123456789"))


def parse_call(
    text: str, tool: str, arguments: Mapping[str, ArgumentReader], max_characters: int = MAX_CHARACTERS
) -> Call | Failure:
    """Read ``text``, what stands between <tool> and </tool>.

    tool: the only name that is known.
    arguments: the arguments that the call must have, no more and no fewer, and how each is read.
    """
    if len(text) > max_characters:
        return Failure(CallError.TOO_LONG, f"Error: the call is longer than {max_characters} characters.")
    try:
        mapping = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):  # the last two: "\UFFFFFFFF"
        return Failure(CallError.NOT_YAML, "Error: the call is not valid YAML.")
    if not isinstance(mapping, dict):
        return Failure(CallError.NOT_A_MAPPING, "Error: the call is not a YAML mapping.")
    return _check_names(mapping, tool, arguments) or _read_arguments(mapping, tool, arguments)


def read_keypoint(value: object) -> list[int] | Failure:
    """[x, y], two integers; a bool, a float or a quoted number is none."""
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value
    return Failure(CallError.BAD_KEYPOINT, "Error: keypoint must be two integers, [x, y].")


def _check_names(mapping: dict, tool: str, arguments: Mapping[str, ArgumentReader]) -> Failure | None:
    wanted = ["name", *arguments]
    missing = [name for name in wanted if name not in mapping]
    if "name" in mapping and mapping["name"] != tool:
        return Failure(CallError.UNKNOWN_TOOL, f"Error: unknown tool; the only tool is {tool}.")
    if missing:
        return Failure(CallError.MISSING_ARGUMENT, f"Error: the call has no {missing[0]}.")
    if len(mapping) > len(wanted):
        return Failure(CallError.UNEXPECTED_ARGUMENT, f"Error: the call must have only {' and '.join(wanted)}.")
    return None


def _read_arguments(mapping: dict, tool: str, arguments: Mapping[str, ArgumentReader]) -> Call | Failure:
    values = {name: read(mapping[name]) for name, read in arguments.items()}
    failures = [value for value in values.values() if isinstance(value, Failure)]
    return failures[0] if failures else Call(tool, values)
