"""Parses the text of a tool call into a call or a failure. Never raises, whatever the text.

A call in YAML is a flat mapping. The parser accepts only the YAML that a call needs: plain decimals are integers, every
other scalar is a string. YAML 1.1 would silently turn 010 into 8 and 1:30 into 90, which is not what the policy means.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import yaml

from loupe.tools.arguments import LARGEST, Argument
from loupe.tools.errors import CallError, Failure

MAX_CHARACTERS = 200


@dataclass(frozen=True)
class Call:
    """A call of a tool. image: the number of the picture that it acts on, from 1; None for the question's picture."""

    name: str
    arguments: dict = field(default_factory=dict)
    image: int | None = None


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


_DIGITS = len(str(LARGEST))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(rf"-?(0|[1-9][0-9]{{0,{_DIGITS - 1}}})\Z"), list("-0123456789")
)


def read_yaml(text: str) -> dict | Failure:
    """The content of a call in YAML. Where the lines are indented unevenly, as by a blank behind the opening tag, the
    indentation is ignored.
    """
    for attempt in (text, "\n".join(map(str.lstrip, text.splitlines()))):
        try:
            return _mapping(yaml.load(attempt, _Loader), "a YAML mapping")
        except (yaml.YAMLError, RecursionError, ValueError, OverflowError):  # the last two: "\UFFFFFFFF"
            continue
    return Failure(CallError.NOT_YAML, "Error: the call is not valid YAML.")


def read_json(text: str) -> dict | Failure:
    """The content of a call in JSON."""
    try:
        return _mapping(json.loads(text, object_pairs_hook=_without_duplicates), "a JSON object")
    except (ValueError, RecursionError):
        return Failure(CallError.NOT_JSON, "Error: the call is not valid JSON.")


def read_function(text: str) -> dict | Failure:
    """The content of a function call, ``{"name": .., "arguments": {..}}``, as a flat mapping."""
    content = read_json(text)
    if isinstance(content, Failure):
        return content
    arguments = content.get("arguments", {})
    if not isinstance(arguments, dict):
        return Failure(CallError.BAD_ARGUMENT, "Error: arguments must be a JSON object.")
    if repeated := (content.keys() - {"arguments"}) & arguments.keys():
        return Failure(CallError.UNEXPECTED_ARGUMENT, f"Error: the arguments must not have {min(repeated)}.")
    return {key: value for key, value in content.items() if key != "arguments"} | arguments


def check_call(mapping: dict | Failure, tools: Mapping[str, Mapping[str, Argument]]) -> Call | Failure:
    """The call that the content describes. tools: the arguments of each tool by its name."""
    if isinstance(mapping, Failure):
        return mapping
    if "name" not in mapping:
        return Failure(CallError.MISSING_ARGUMENT, "Error: the call has no name.")
    name = mapping["name"]
    if not isinstance(name, str) or name not in tools:
        known = f"the only tool is {next(iter(tools))}" if len(tools) == 1 else f"the tools are {', '.join(tools)}"
        return Failure(CallError.UNKNOWN_TOOL, f"Error: unknown tool; {known}.")
    if failure := _check_names(mapping, tools[name]):
        return failure
    values = {key: argument.read(mapping[key]) for key, argument in tools[name].items() if key in mapping}
    if failures := [value for value in values.values() if isinstance(value, Failure)]:
        return failures[0]
    image = values.pop("image", None)
    return Call(name, values, image)


def _check_names(mapping: dict, arguments: Mapping[str, Argument]) -> Failure | None:
    wanted = [key for key, argument in arguments.items() if argument.required]
    if missing := [key for key in wanted if key not in mapping]:
        return Failure(CallError.MISSING_ARGUMENT, f"Error: the call has no {missing[0]}.")
    if mapping.keys() - arguments.keys() - {"name"}:
        allowed = " and ".join(["name", *wanted])
        return Failure(CallError.UNEXPECTED_ARGUMENT, f"Error: the call must have only {allowed}.")
    return None


def _mapping(content: object, form: str) -> dict | Failure:
    if isinstance(content, dict):
        return content
    return Failure(CallError.NOT_A_MAPPING, f"Error: the call is not {form}.")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate key")
    return mapping
