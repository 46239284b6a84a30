"""What settings a job may have: those of conf/, and the arguments of whatever a ``_target_`` names."""

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.names import located
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


def described(key: str, node: Any) -> Iterator[tuple[str, DictConfig]]:
    """The nodes with a ``_target_`` in ``node``, the setting ``key`` or, without one, the root; each with its key."""
    if OmegaConf.is_dict(node) and "_target_" in node:
        yield key, node
    for name in keys(node):
        if not OmegaConf.is_missing(node, name):
            yield from described(f"{key}.{name}".lstrip("."), node[name])


def keys(node: Any) -> list:
    """The names of what is in a group of settings, or the indices of a list; nothing is in a value."""
    if OmegaConf.is_dict(node):
        return list(node)
    return list(range(len(node))) if OmegaConf.is_list(node) else []


def exists(key: str, cfg: DictConfig) -> bool:
    """Whether ``cfg`` has this setting, whatever its value."""
    place, _, name = key.rpartition(".")
    return name in map(str, keys(OmegaConf.select(cfg, place) if place else cfg))


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
