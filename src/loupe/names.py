"""The names that a user types: what a mistyped one was meant to be, and what a dotted one, as in my_terms.brief, is."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from loupe.errors import UserError

NEAR = 0.65
"""The least similarity (difflib's ratio) of a name that is suggested."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The name among ``known`` that is most similar to ``name``; empty if none is similar."""
    known = list(known)
    plain = {_plain(other): other for other in known}
    return difflib.get_close_matches(name, known, 1, NEAR) or [
        plain[other] for other in difflib.get_close_matches(_plain(name), plain, 1, NEAR)
    ]


def did_you_mean(names: Sequence[str], before: str = "") -> str:
    """``before`` and the question "did you mean a or b?"; empty without names."""
    return f"{before}did you mean {' or '.join(names)}?" if names else ""


def located(key: str, name: str) -> object:
    """What the dotted ``name`` of a module and something in it stands for.

    Raises UserError, which begins with ``key=name``, if there is no such thing. An error inside the module itself is
    raised as it is.
    """
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"{key}={name}: must be the name of a module and of something in it, as in my_module.my_name")
    found: object = _module(parts[0])
    if found is None:
        where = "neither in the current folder, nor beside a --config-dir, nor installed"
        raise UserError(f"{key}={name}: there is no module {parts[0]}: {where}")
    for number, part in enumerate(parts[1:], start=2):
        package = hasattr(found, "__path__") and not hasattr(found, part)
        inner = _module(".".join(parts[:number])) if package else getattr(found, part, None)
        if inner is None and not hasattr(found, part):
            raise UserError(f"{key}={name}: {_lacking(found, part)}")
        found = inner
    return found


def _module(name: str) -> ModuleType | None:
    """The module of this name; None if there is none."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise  # what the module itself imports


def _lacking(found: object, part: str) -> str:
    """That ``found`` has no ``part``; for a module, from which file it comes, and which file it hides."""
    if not isinstance(found, ModuleType):
        return f"{getattr(found, '__name__', found)} has no {part}"
    file = Path(getattr(found, "__file__", None) or found.__name__)
    others = (Path(folder).absolute() / f"{found.__name__}.py" for folder in sys.path)
    hidden = next((other for other in others if other.is_file() and other != file), None)
    near = did_you_mean(nearest(part, (other for other in vars(found) if other[0] != "_")), "; ")
    hint = f"; {hidden} is hidden behind it: rename that" if hidden else near
    return f"the module {found.__name__} ({file}) has no {part}{hint}"


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
