"""Resuming a run with its own settings: those of its config.yaml, changed only by what the command line names."""

import json
import shlex
import time
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.logs.rows import keep_rows, read_rows
from loupe.paths import moved
from loupe.runs.config import CONFIG_DIR, command_line, quoted, search_path
from loupe.runs.files import RunFile, parsed, read_json
from loupe.runs.provenance import commit, write_patch
from loupe.runs.renamed import current_override, update_settings

OF_THIS_START = ("resume", "paths.output_dir", "debug")
"""Overrides that say how a run is started, not what it does."""


def own_settings(cfg: DictConfig, folder: Path) -> DictConfig:
    """The settings of the run in ``folder``, with the overrides of this command applied to them.

    An override changes what it would have changed at the start of the run, interpolations and groups included.
    Everything else stays as it was, even if the files in conf/ have changed since. Overrides of earlier resumes still
    hold. Raises UserError for a run of another command, and if a file that records its settings is missing or damaged.
    """
    require_same_command(folder)
    saved = saved_settings(folder)
    first, *later = map(_overrides, _commands(folder))
    named = [override for overrides in later for override in overrides] + _overrides(command_line())
    if named:
        _apply(_composed(first, folder), _composed([*first, *named], folder), saved)
    for key in OF_THIS_START:
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    return saved


def require_same_command(folder: Path) -> None:
    """Raise UserError if another command than this one made the run in ``folder``: it trains otherwise."""
    made, this = (Path(shlex.split(command)[1]).name for command in (_commands(folder)[0], command_line()))
    if made != this:
        raise UserError(
            f"resume: {folder} is a run of {made}, not of {this}; resume it with src/{made}, or take up its model by "
            f"model.path={folder / RunFile.MODEL}"
        )


def saved_settings(folder: Path) -> DictConfig:
    """The config.yaml of the run in ``folder``, in today's form, with this folder in place of the one it started in."""

    def parse(text: str) -> DictConfig:
        settings = OmegaConf.to_container(OmegaConf.create(text))
        update_settings(settings)
        return OmegaConf.create(moved(settings, settings["paths"]["output_dir"], str(folder.resolve())))

    return parsed(folder / RunFile.CONFIG, parse)


def own_folders(folder: Path) -> list[Path]:
    """The folders from which the run in ``folder`` took configuration besides the project's own."""
    arguments = [argument for command in _commands(folder) for argument in shlex.split(command)]
    places = [argument.removeprefix(CONFIG_DIR) for argument in arguments if argument.startswith(CONFIG_DIR)]
    return [Path(place) for place in dict.fromkeys(places)]


def whole_command(folder: Path) -> str:
    """The command that would make the run in ``folder`` at one go, without the folder, for other people to read."""
    places = (f"{CONFIG_DIR}{place.name}" for place in own_folders(folder))
    return shlex.join([*shlex.split(_commands(folder)[0])[:2], *places, *own_overrides(folder)])


def own_overrides(folder: Path) -> list[str]:
    """The overrides of the commands that started a run and resumed it, of each key the last one."""
    return _latest([override for command in _commands(folder) for override in _overrides(command)])


def own_seed(folder: Path) -> int:
    """The seed that a run had last."""
    seed = parsed(folder / RunFile.CONFIG, lambda text: OmegaConf.create(text)["seed"])
    *_, last = [{"changed": {}}, *_parts(folder)]  # each part names all that differs from the start
    return last["changed"].get("seed", seed)


def record_part(folder: Path, step: int, changed: dict) -> None:
    """Append to parts.jsonl: from which step a run was resumed, by which command and commit, and what it changed.

    The uncommitted changes go to a file of their own, numbered like the parts, which the row names.
    """
    path = folder / RunFile.PARTS
    earlier = keep_rows(path, lambda _: True) if path.exists() else []
    patch = RunFile.PART_PATCH.replace("*", str(len(earlier) + 1))
    write_patch(folder / patch)
    part = {
        "step": step,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command_line(),
        "commit": commit(),
        "patch": patch if (folder / patch).exists() else None,
        "changed": changed,
    }
    with path.open("a") as file:
        file.write(json.dumps(part) + "\n")


def changed_settings(before: dict, after: dict, prefix: str = "") -> dict:
    """The settings in which two configurations differ, by dotted name, with their new values."""
    changed: dict = {}
    for key in before.keys() | after.keys():
        one, other, name = before.get(key), after.get(key), f"{prefix}{key}"
        if isinstance(one, dict) and isinstance(other, dict):
            changed |= changed_settings(one, other, f"{name}.")
        elif one != other and name not in OF_THIS_START:
            changed[name] = other
    return dict(sorted(changed.items()))


def _commands(folder: Path) -> list[str]:
    """The commands that started a run and resumed it."""
    return [part["command"] for part in (read_json(folder / RunFile.PROVENANCE), *_parts(folder))]


def _parts(folder: Path) -> list[dict]:
    return read_rows(folder / RunFile.PARTS) if (folder / RunFile.PARTS).exists() else []


def _overrides(command: str) -> list[str]:
    _, _, *arguments = shlex.split(command)
    overrides = [argument for argument in arguments if not argument.startswith(CONFIG_DIR)]
    return [current_override(override) for override in overrides if _key(override) not in OF_THIS_START]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _latest(overrides: list[str]) -> list[str]:
    """The last override of each key; one that changes what an earlier one added, adds it."""
    latest: dict[str, str] = {}
    for override in overrides:
        added = latest.get(_key(override), "").startswith("+")
        latest[_key(override)] = f"++{override}" if added and override[0] not in "+~" else override
    return list(latest.values())


def _composed(overrides: list[str], folder: Path) -> dict:
    """The settings that ``overrides`` would give to the run in ``folder``."""
    latest = _latest(overrides)  # Hydra refuses to add a key twice
    given = [*latest, *search_path(own_folders(folder)), f"paths.output_dir={quoted(str(folder.resolve()))}"]
    cfg = compose(HydraConfig.get().job.config_name, overrides=given)
    return OmegaConf.to_container(cfg, resolve=True)


def _apply(before: dict, after: dict, saved: DictConfig) -> None:
    """Change in ``saved`` what differs between ``before`` and ``after``."""
    for key in before.keys() - after.keys():
        saved.pop(key, None)
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict) and OmegaConf.is_dict(saved.get(key)):
            _apply(before[key], value, saved[key])
        elif key not in before or before[key] != value:
            saved[key] = value
