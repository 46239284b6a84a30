"""The forms in which a policy writes a call: ``tool.call``."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loupe.errors import require_choice
from loupe.tools.errors import Failure
from loupe.tools.parse import read_function, read_json, read_yaml


@dataclass(frozen=True)
class Form:
    """A form of calls.

    tag: what stands around a call: ``<tag>..</tag>``. aim: the argument with which the zoom tool is aimed, "keypoint"
    or "box". read: parses the text between the tags into a flat mapping of name and arguments, or into a failure.
    write: the inverse, of a name and arguments that are written as they are to appear, such as ``[x, y]``. function:
    whether the tools are given to the chat template, which explains them.
    """

    tag: str
    aim: str
    read: Callable[[str], dict | Failure]
    write: Callable[[str, Mapping[str, str]], str]
    function: bool = False

    def opening(self, name: str, argument: str) -> str:
        """The beginning of a call of the tool ``name``, up to the first number of a list."""
        return f"<{self.tag}>{self.write(name, {argument: '['}).rpartition('[')[0]}["


def zoom_opening(call: str) -> str:
    """The beginning of a zoom in one of the ``FORMS``, up to the first number."""
    form = FORMS[require_choice("tool.call", call, FORMS)]
    return form.opening("zoom", form.aim)


def write_yaml(name: str, arguments: Mapping[str, str]) -> str:
    return "".join(f"\n{key}: {value}" for key, value in {"name": name, **arguments}.items()) + "\n"


def write_json(name: str, arguments: Mapping[str, str]) -> str:
    return f"\n{_object({'name': json.dumps(name), **arguments})}\n"


def write_function(name: str, arguments: Mapping[str, str]) -> str:
    return f"\n{_object({'name': json.dumps(name), 'arguments': _object(arguments)})}\n"


def _object(content: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in content.items()) + "}"


FORMS = {
    "keypoint_yaml": Form("tool", "keypoint", read_yaml, write_yaml),
    "box_yaml": Form("tool", "box", read_yaml, write_yaml),
    "box_json": Form("tool", "box", read_json, write_json),
    "function": Form("tool_call", "box", read_function, write_function, function=True),
}
"""``keypoint_yaml`` is the form of arXiv 2506.14821; boxes are those of DeepEyes (arXiv 2505.14362) and others."""
