"""The arguments of tool calls: what an instruction says about them, their JSON schemas, and their readers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loupe.tools.errors import CallError, Failure

LARGEST = 10**9 - 1
"""Of a number in a call. It exceeds any picture, and keeps the numbers in messages short."""


@dataclass(frozen=True)
class Argument:
    """One argument of a call.

    example: how an instruction writes it, such as ``[x, y]``. schema: as JSON schema, for models that call functions.
    read: turns the value, parsed from YAML or JSON, into the argument, or into a :class:`Failure`. required: whether a
    call must have it.
    """

    example: str
    schema: dict
    read: Callable[[object], Any]
    required: bool = True


def integers(name: str, letters: Sequence[str], kind: CallError = CallError.BAD_ARGUMENT) -> Argument:
    """A list of integers, such as a keypoint. letters: what an instruction calls them. kind: of the failure."""
    count, example = len(letters), f"[{', '.join(letters)}]"

    def read(value: object) -> list[int] | Failure:
        if isinstance(value, list) and len(value) == count and all(map(_is_integer, value)):
            return value
        words = {2: "two", 4: "four"}.get(count, str(count))
        return Failure(kind, f"Error: {name} must be {words} integers, {example}.")

    schema = {"type": "array", "items": {"type": "integer"}, "minItems": count, "maxItems": count}
    return Argument(example, schema, read)


def integer(name: str, least: int, required: bool = True) -> Argument:
    """An integer from ``least`` on."""

    def read(value: object) -> int | Failure:
        if type(value) is int and least <= value <= LARGEST:
            return value
        return Failure(CallError.BAD_ARGUMENT, f"Error: {name} must be an integer, {least} or more.")

    return Argument("n", {"type": "integer", "minimum": least}, read, required)


def choice(name: str, values: Sequence[int | str]) -> Argument:
    """One of ``values``, which are all numbers or all texts."""

    def read(value: object) -> int | str | Failure:
        if type(value) is type(values[0]) and value in values:
            return value
        return Failure(CallError.BAD_ARGUMENT, f"Error: {name} must be one of {', '.join(map(str, values))}.")

    return Argument(str(values[0]), {"enum": list(values)}, read)


def text(name: str) -> Argument:
    """Any text but an empty one."""

    def read(value: object) -> str | Failure:
        if isinstance(value, str) and value.strip():
            return value
        return Failure(CallError.BAD_ARGUMENT, f"Error: {name} must be text.")

    return Argument("..", {"type": "string"}, read)


KEYPOINT = integers("keypoint", ("x", "y"), CallError.BAD_KEYPOINT)
BOX = integers("box", ("x1", "y1", "x2", "y2"))
IMAGE = integer("image", 1, required=False)
"""The number of the picture that a call acts on. Every call may have it."""


def _is_integer(value: object) -> bool:
    return type(value) is int and abs(value) <= LARGEST
