"""What the settings of a job may be: those of conf/, and the arguments of whatever a ``_target_`` names."""

import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.names import did_you_mean, located, nearest
from loupe.paths import CONF

OPEN = ("reward.terms", "evaluate.known")
"""Groups to which a user adds settings of any name."""
WHOLE = ("data", "model", "tool", "reward")
"""Groups whose parts are made of their settings alone, so that each argument without a default is one of them."""
OF_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
GLOBAL = ("experiment", "course")
"""Groups whose files change settings outside of them."""
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


@cache
def documented() -> dict:
    """The settings of all commands, as conf/ has them, but for those in groups, which depend on what is chosen."""
    files = [path for pattern in ("*.yaml", "course/*.yaml") for path in CONF.glob(pattern)]
    known = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, files)))
    known |= {group: {} for group in GROUPS}
    return {key: value for key, value in known.items() if key not in ("defaults", "hydra", *GLOBAL)}


@cache
def indispensable() -> list[str]:
    """The settings and groups of conf/train.yaml, which every command has."""
    train = OmegaConf.load(CONF / "train.yaml")
    chosen = [key for default in train.defaults if OmegaConf.is_dict(default) for key in default]
    return [key for key in (*train, *chosen) if key not in ("defaults", "hydra", *GLOBAL)]


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
        if strange := [argument for argument in node if argument not in OF_HYDRA | parameters.keys()]:
            raise unknown(f"{name}.{strange[0]}", cfg)
        if given is None or "_args_" in node or node.get("_partial_"):
            continue
        passed = {*node, *(given if name == key else ())}
        if lacking := [argument for argument in _required(parameters) if argument not in passed]:
            raise UserError(f"{name}.{lacking[0]} is missing; give it a value")


def described(key: str, node: Any) -> Iterator[tuple[str, DictConfig]]:
    """The nodes with a ``_target_`` in ``node``, the setting ``key`` or, without one, the root; each with its key."""
    if OmegaConf.is_dict(node) and "_target_" in node:
        yield key, node
    for name in _keys(node):
        if not OmegaConf.is_missing(node, name):
            yield from described(f"{key}.{name}".lstrip("."), node[name])


def _keys(node: Any) -> list:
    """The names of what is in a group of settings, or the indices of a list; nothing is in a value."""
    if OmegaConf.is_dict(node):
        return list(node)
    return list(range(len(node))) if OmegaConf.is_list(node) else []


def parameters_of(key: str, node: DictConfig) -> dict[str, inspect.Parameter] | None:
    """The parameters of what ``node``, the setting ``key``, describes; None if it takes arguments of any name.

    Raises UserError if there is nothing of that name, or nothing that can be called.
    """
    target = located(f"{key}._target_", str(node._target_))
    if not callable(target):
        raise UserError(f"{key}._target_={node._target_}: is nothing that can be called")
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # some that are written in C do not say
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return dict(parameters)


def _required(parameters: dict[str, inspect.Parameter]) -> list[str]:
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, p in parameters.items() if p.default is p.empty and p.kind not in open_ended]


def unknown(key: str, cfg: DictConfig) -> UserError:
    """The error that the setting ``key`` of ``cfg`` means nothing, with the one that may have been meant."""
    return UserError(f"{key}: there is no such setting; {hint(key, cfg)}")


def hint(key: str, cfg: DictConfig) -> str:
    """What may have been meant by ``key``, which means nothing; else what is known in its place.

    In this order: a similar name in its place, the same name below that, the same name anywhere, a similar name below
    that (for a setting outside of all groups, anywhere).
    """
    place, wrong, rest = _astray(key, cfg)
    here = OmegaConf.select(cfg, place) if place else cfg
    if here is None:
        return f"{place} is empty; give it as a whole: {place}='{{{wrong}: ..}}'"
    if not OmegaConf.is_dict(here):
        return f"{place} is a value, not a group of settings"
    beside = [str(name) for name in here if name not in (wrong, *OF_HYDRA)]
    arguments = _further_arguments(place, here)
    if near := nearest(wrong, [*beside, *arguments]):
        fixed = ".".join(part for part in (place, near[0], rest) if part)
        if near[0] not in beside:
            return f"to add it, write +{fixed}" if near[0] == wrong else did_you_mean([f"+{fixed}"])
        return did_you_mean([fixed]) if not rest or exists(fixed, cfg) else hint(fixed, cfg)
    if not place and wrong in documented():
        return f"{wrong} belongs to {' and '.join(_commands_with(wrong)) or 'another command'}"
    names = [name for name in _names("", cfg) if not f"{name}.".startswith(f"{key}.")]
    below = [name for name in names if place and name.startswith(f"{place}.")]
    meant = _same(f"{wrong}.{rest}".strip("."), below, names) or _similar(wrong, below if place else names)
    return (
        did_you_mean(meant) or f"{place or 'the configuration'} has {', '.join(beside or arguments) or 'no settings'}"
    )


def _commands_with(key: str) -> list[str]:
    """The commands whose own files in conf/, or those that they include, have this setting."""

    def has(name: str) -> bool:
        file = OmegaConf.load(CONF / f"{name}.yaml")
        included = [
            other for other in file.get("defaults", []) if isinstance(other, str) and (CONF / f"{other}.yaml").exists()
        ]
        return key in file or any(has(other) for other in included)

    return [f"src/{path.name}" for path in sorted(CONF.parent.glob("src/*.py")) if has(path.stem)]


def _astray(key: str, cfg: DictConfig) -> tuple[str, str, str]:
    """The place of the first part of ``key`` that means nothing, that part, and the rest."""
    parts = key.split(".")
    right = next((n for n in range(len(parts) - 1) if not exists(".".join(parts[: n + 1]), cfg)), len(parts) - 1)
    return ".".join(parts[:right]), parts[right], ".".join(parts[right + 1 :])


def exists(key: str, cfg: DictConfig) -> bool:
    """Whether ``cfg`` has this setting, whatever its value."""
    place, _, name = key.rpartition(".")
    return name in map(str, _keys(OmegaConf.select(cfg, place) if place else cfg))


def _further_arguments(key: str, node: DictConfig) -> list[str]:
    """The arguments of what ``node`` describes that it does not set, but could; the commands give some themselves."""
    parameters = (parameters_of(key, node) if "_target_" in node else None) or {}
    whole = key.partition(".")[0] in WHOLE
    return [name for name, p in parameters.items() if name not in node and (whole or p.default is not p.empty)]


def _names(prefix: str, node: DictConfig) -> Iterator[str]:
    """Every setting in ``node``, by its whole name."""
    for name, value in node.items_ex(resolve=False):
        if name not in OF_HYDRA:
            yield f"{prefix}{name}"
            if OmegaConf.is_dict(value) and len(value):  # neither null nor a reference
                yield from _names(f"{prefix}{name}.", value)


def _same(ending: str, *places: list[str]) -> list[str]:
    """The names that end in ``ending``, from the first of ``places`` in which there are any; of these, the shortest."""
    for names in places:
        if same := [name for name in names if f".{name}".endswith(f".{ending}")]:
            depth = min(name.count(".") for name in same)
            return [name for name in same if name.count(".") == depth][:3]
    return []


def _similar(wrong: str, names: list[str]) -> list[str]:
    """The name whose last part is most similar to ``wrong``, of several the first."""
    leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
    return [leaves[near] for near in nearest(wrong, leaves)]
