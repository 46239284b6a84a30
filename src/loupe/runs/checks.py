"""Refusal of settings that nothing reads, or that are missing, with their names."""

import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.paths import CONF
from loupe.runs.hints import unknown
from loupe.runs.known import GLOBAL, GROUPS, OF_HYDRA, OPEN, described, documented, indispensable, parameters_of


def require_read(folders: Iterable[Path]) -> None:
    """Raise UserError if a file of configuration in ``folders`` is hidden behind one of the project."""
    for folder in folders:
        for path in (*folder.glob("*.yaml"), *(path for group in GROUPS for path in (folder / group).rglob("*.yaml"))):
            if (CONF / path.relative_to(folder)).exists():
                raise UserError(f"{path}: the project has a file of this name, which is read instead; rename yours")


def require_documented(cfg: DictConfig) -> None:
    """Raise UserError if, outside of what a ``_target_`` describes, nothing reads a setting, or one is missing.

    So it does for a value in place of a group of settings.
    """
    if lacking := [name for name in indispensable() if name not in cfg]:
        choices = ", ".join(sorted(path.stem for path in (CONF / lacking[0]).glob("*.yaml")))
        raise UserError(f"{lacking[0]} is missing; " + (f"choose one of {choices}" if choices else "give it a value"))
    if wrapped := [group for group in GLOBAL if group in cfg]:
        raise UserError(f"{wrapped[0]}: the first line of the chosen file must be: # @package _global_")
    _require_documented("", cfg, documented(), cfg)


def _require_documented(prefix: str, within: DictConfig, known: dict, cfg: DictConfig) -> None:
    for key in map(str, within):
        if key not in known and not re.search(rf"\$\{{{prefix}{key}\b", OmegaConf.to_yaml(cfg)):
            raise unknown(f"{prefix}{key}", cfg)
    for key, value in known.items():
        name = f"{prefix}{key}"
        if not isinstance(value, dict) or key not in within:
            continue
        if name in GROUPS and isinstance(within[key], str):
            choice = f"- override /{name}: {within[key]}"
            raise UserError(f"{name}={within[key]}: in a file, write this under defaults, as {choice}")
        if not OmegaConf.is_dict(within[key]):
            raise UserError(f"{name}={within[key]}: must be a group of settings; set those in it, as {name}.<key>=..")
        if name not in (*GROUPS, *OPEN) and "_target_" not in value:
            _require_documented(f"{name}.", within[key], value, cfg)


@contextmanager
def arguments(node: DictConfig, given: Collection[str]) -> Iterator[None]:
    """What ``node`` describes is called in this context, with the further arguments ``given``.

    Raises UserError if it, or what is described in it, lacks an argument or cannot take one, or if ``node`` sets one of
    ``given``, which would have no effect.
    """
    key = node._get_full_key(None)
    if both := [name for name in given if name in node]:
        raise UserError(f"{key}.{both[0]}: the command itself decides this; leave it out")
    require_arguments(node._get_root(), key, given)
    try:
        yield
    except (TypeError, InstantiationException) as error:
        cause = error if isinstance(error, TypeError) else error.__cause__
        if isinstance(cause, UserError):  # of a nested node, which Hydra wraps
            raise cause from error
        strange = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        for name, part in described(key, node):
            if strange and strange[1] in part and parameters_of(name, part) is None:  # it has passed this on
                raise unknown(f"{name}.{strange[1]}", node._get_root()) from error
        raise


def require_arguments(cfg: DictConfig, key: str | None = None, given: Collection[str] | None = None) -> None:
    """Raise UserError if what the setting ``key`` of ``cfg`` describes, or what is in it, cannot take its settings.

    key: None for all settings. given: further arguments of ``key``, by name; None if they are not known yet, when no
    argument counts as missing.
    """
    for name, node in described(key, OmegaConf.select(cfg, key)) if key else described("", cfg):
        parameters = parameters_of(name, node)
        if parameters is None:
            continue
        strange = [argument for argument in node if argument not in OF_HYDRA | parameters.keys()]
        if strange and name == "tool":  # a set of tools takes any name
            raise UserError(
                f"tool._target_={node._target_}: a tool's settings lie under its name, as tool.<name>._target_"
            )
        if strange:
            raise unknown(f"{name}.{strange[0]}", cfg)
        if given is None or "_args_" in node or node.get("_partial_"):
            continue
        passed = {*node, *(given if name == key else ())}
        if lacking := [argument for argument in _required(parameters) if argument not in passed]:
            raise UserError(f"{name}.{lacking[0]} is missing; give it a value")


def _required(parameters: dict[str, inspect.Parameter]) -> list[str]:
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, p in parameters.items() if p.default is p.empty and p.kind not in open_ended]
