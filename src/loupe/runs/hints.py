"""What may have been meant by a setting that means nothing."""

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.names import did_you_mean, nearest
from loupe.paths import CONF
from loupe.runs.known import GLOBAL, GROUPS, OF_HYDRA, WHOLE, documented, exists, parameters_of


def unknown(key: str, cfg: DictConfig) -> UserError:
    """The error that the setting ``key`` of ``cfg`` means nothing, with the one that may have been meant."""
    return UserError(f"{key}: there is no such setting; {hint(key, cfg)}")


def hint(key: str, cfg: DictConfig) -> str:
    """What may have been meant by ``key``, which means nothing; else what is known in its place.

    In this order: a similar name in its place, the same name in another choice of the group, below that place or
    anywhere, a similar name below that place (for a setting outside of all groups, anywhere).
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
    if place in GROUPS and (choices := _choices_with(place, wrong)):
        return f"{place}.{wrong} belongs to {', '.join(choices)}"
    names = [name for name in _names("", cfg) if not f"{name}.".startswith(f"{key}.")]
    below = [name for name in names if place and name.startswith(f"{place}.")]
    meant = _same(f"{wrong}.{rest}".strip("."), below, names) or _similar(wrong, below if place else names)
    return (
        did_you_mean(meant) or f"{place or 'the configuration'} has {', '.join(beside or arguments) or 'no settings'}"
    )


def _commands_with(key: str) -> list[str]:
    return [f"src/{path.name}" for path in sorted(CONF.parent.glob("src/*.py")) if _sets(CONF, path.stem, key)]


def _choices_with(group: str, key: str) -> list[str]:
    if group in GLOBAL or key in ("defaults", *OF_HYDRA):
        return []
    names = [path.stem for path in sorted((CONF / group).glob("*.yaml"))]
    return [f"{group}={name}" for name in names if _sets(CONF / group, name, key)]


def _sets(folder: Path, name: str, key: str) -> bool:
    """Whether a file, or one of its folder that it includes, has this setting. A group's file may set more than it."""
    file = OmegaConf.load(folder / f"{name}.yaml")
    names = [other for other in file.get("defaults", []) if isinstance(other, str)]
    included = [other for other in names if (folder / f"{other}.yaml").exists()]
    return exists(key, file.get(folder.name, file)) or any(_sets(folder, other, key) for other in included)


def _astray(key: str, cfg: DictConfig) -> tuple[str, str, str]:
    """The place of the first part of ``key`` that means nothing, that part, and the rest."""
    parts = key.split(".")
    right = next((n for n in range(len(parts) - 1) if not exists(".".join(parts[: n + 1]), cfg)), len(parts) - 1)
    return ".".join(parts[:right]), parts[right], ".".join(parts[right + 1 :])


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
