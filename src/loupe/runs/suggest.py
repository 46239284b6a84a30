"""What Hydra's errors mean: a line that names the override as it was typed, and what works instead."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser  # nothing public tells flags from overrides
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.names import did_you_mean, nearest
from loupe.paths import CONF
from loupe.runs.config import make_importable, quoted, search_path
from loupe.runs.files import RunFile
from loupe.runs.folder import run_folder
from loupe.runs.hints import hint
from loupe.runs.known import GROUPS, OPEN, exists
from loupe.runs.resume import saved_settings


@dataclass(frozen=True)
class Command:
    """A command as it was typed. entry: its name, such as "train"; arguments: as :func:`in_order` returns them."""

    entry: str
    arguments: tuple[str, ...]

    @cached_property
    def overrides(self) -> list[Override]:
        return OverridesParser.create().parse_overrides(get_args_parser().parse_args(self.arguments).overrides)

    @cached_property
    def folders(self) -> list[Path]:
        """Where the groups are."""
        given = get_args_parser().parse_args(self.arguments).config_dir
        return [CONF, *([Path(given).absolute()] if given else [])]

    def typed(self, key: str) -> str:
        """The override that changes ``key``; the key alone if a file does."""
        plain = (o for o in self.overrides if not (o.is_add() or o.is_force_add() or o.is_delete()))
        return next((str(o.input_line) for o in plain if o.key_or_group == key), key)

    @cached_property
    def resumed(self) -> Path | None:
        """The folder of the run that the command resumes, if it can be read."""
        given = next((o.value() for o in self.overrides if o.key_or_group == "resume"), None)
        folder = Path(run_folder(str(given), "")) if given else None
        return folder if folder and (folder / RunFile.CONFIG).exists() else None

    @cached_property
    def known(self) -> DictConfig:
        """The settings that the command can change: those of the resumed run, or those of its choices and additions."""
        if self.resumed:
            return saved_settings(self.resumed)
        make_importable(self.folders[1:])  # own code says which settings it takes
        kept = [line for override in self.overrides if (line := self._choice(override))]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            try:
                return compose(self.entry, [*kept, *search_path(self.folders[1:])])
            except (HydraException, ValueError):  # something else is wrong as well
                return compose(self.entry)

    def _choice(self, override: Override) -> str | None:
        """``override`` if it chooses a group's file, in a sweep the first, or if it adds settings; else None."""
        key, value = str(override.key_or_group), override.value()
        group = any((folder / key).is_dir() for folder in self.folders)
        if isinstance(value, ChoiceSweep):
            value = value.list[0]
        if group and not override.is_delete() and isinstance(value, str):
            return f"{key}={value}"
        return override.input_line if (override.is_add() or override.is_force_add()) and not group else None


def in_order(arguments: list[str]) -> list[str]:
    """Overrides first, then flags: Hydra does not take overrides on both sides of a flag.

    Raises UserError for a setting that is written as a flag, and for flags that would replace the configuration.
    """
    given, rest = get_args_parser().parse_known_args(arguments)
    if dashed := [argument for argument in rest if argument.startswith("-")]:
        raise UserError(f"{dashed[0]}: no such flag; settings have no dashes, as in crop=400")
    for flag, value in (("--config-name", given.config_name), ("--config-path", given.config_path)):
        if value is not None:
            raise UserError(f"{flag}: each command has a configuration of its own; add to it by --config-dir=<folder>")
    overrides = [*given.overrides, *rest]
    return [*overrides, *(argument for argument in arguments if argument not in overrides)]


def with_places(arguments: list[str], key: str | None) -> list[str]:
    """The arguments, with those that are neither flags nor overrides as the value of ``key``; several make a list."""
    given = get_args_parser().parse_known_args(arguments)[0].overrides
    places = [argument for argument in given if key and "=" not in argument and argument[:1] not in ("~", "-")]
    if not places:
        return arguments
    values = ",".join(map(quoted, places))
    rest = [argument for argument in arguments if argument not in places]
    return [f"{key}={values if len(places) == 1 else f'[{values}]'}", *rest]


def explained(error: Exception, command: Command) -> str:
    """One line for an error that Hydra raised while it composed the configuration of ``command``."""
    text, cause = str(error), error.__cause__
    file = re.match(r"In '((?!hydra/)[^']+)'", text)
    where = f"{file[1]}.yaml: " if file and file[1] != command.entry else ""
    if isinstance(error, MissingConfigException) and (found := re.search("Available options in '([^']+)'", text)):
        name = str(error.missing_cfg_file).removeprefix(f"{found[1]}/")
        return where + _no_choice(command, found[1], name, list(error.options or []))
    if found := re.search("Could not override '([^']+)'", text):
        return where + _no_setting(command, found[1], getattr(cause, "full_key", None) or found[1])
    for pattern, explain in MEANINGS.items():
        if found := re.search(pattern, text):
            return where + explain(command, *found.groups())
    found = re.search("Error merging override (.*)", text)
    if re.search(r"Cannot merge \w+ with \w+", f"{text} {cause}"):  # OmegaConf does not say which is which
        return where + (_other_kind(command, found[1]) if found else OTHER_KIND)
    if found:
        return f"{found[1]}: {str(cause).splitlines()[0]}"
    return " ".join(text.partition("Config search path")[0].split())


def _no_choice(command: Command, group: str, name: str, options: list[str]) -> str:
    folders = [folder / group for folder in command.folders]
    found = {path.relative_to(folder).with_suffix("") for folder in folders for path in folder.rglob("*.yaml")}
    choices = sorted(map(str, found)) or options  # Hydra's own groups are elsewhere
    if inside := [f"{group}={choice}" for choice in choices if choice.startswith(f"{name}/")]:
        return f"{group}={name}: {name} is a folder of {', '.join(inside)}"
    near = did_you_mean([f"{group}={choice}" for choice in nearest(name, choices)])
    return f"{group}={name}: there is no such choice; {near and f'{near} '}there are {', '.join(choices)}"


def _no_setting(command: Command, key: str, strange: str) -> str:
    """An override of ``key`` is refused because of ``strange``: ``key`` itself, what is above it, or in its value."""
    typed, (place, _, name) = command.typed(key), strange.rpartition(".")
    if re.search("[/@]", key):
        return f"{typed}: there is no such group; there are {', '.join(GROUPS)}"
    if key.startswith("hydra."):
        return f"{typed}: Hydra has no such setting; --cfg hydra prints all"
    if exists(strange, command.known):
        why = "the resumed run has this setting" if command.resumed else f"{key.partition('.')[0]} is swept over"
        return f"{typed}: {why}, so write ++{typed}"
    addable = place in OPEN or (place == "reward.weights" and exists(f"reward.terms.{name}", command.known))
    fix = f"to add it, write +{typed}" if addable else ""
    if fix and (near := nearest(name, map(str, OmegaConf.select(command.known, place)))):
        fix = f"{did_you_mean([f'{place}.{near[0]}'])} {fix}"
    what = "such setting" if strange == key else f"setting {strange}"
    return f"{typed}: there is no {what}; {fix or hint(strange, command.known)}"


def _set_already(command: Command, key: str) -> str:
    if added := [argument for argument in command.arguments if argument.lstrip("+").startswith(f"{key}=")]:
        return f"{added[0]}: {key} is there already; leave out the +"
    return f"{key} is chosen twice; in a file, write override /{key}: <choice>"


def _nothing_to_delete(command: Command, key: str, value: str | None) -> str:
    if exists(key, command.known) or key in GROUPS:
        return f"~{key}{value or ''}: it has another value; leave that out"
    return f"~{key}: there is no such setting; {hint(key, command.known)}"


def _ambiguous(command: Command, override: str) -> str:
    key, _, values = override.partition("=")
    return f"{override}: several values are a sweep, which needs -m; a list is written {key}=[{values}]"


def _other_kind(command: Command, override: str) -> str:
    key = override.partition("=")[0].lstrip("+")
    is_list = OmegaConf.is_list(OmegaConf.select(command.known, key))
    if not is_list and not override.endswith("]"):
        return f"{override}: {OTHER_KIND}"
    return f"{override}: {key} is {'a list, [..]' if is_list else 'a mapping, {name: value, ..}'}"


def _no_choice_in_list(command: Command, group: str, name: str) -> str:
    return _no_choice(command, group, name, [])


OTHER_KIND = "gives a list, [..], to a setting that is a mapping, {name: value, ..}, or the other way round"
MEANINGS: dict[str, Callable[..., str]] = {
    r"Could not load '([\w/]+)/([^/']+)'": _no_choice_in_list,
    r"An item is already at '([^']+)'": _set_already,
    r"Multiple values for ([\w/]+)": _set_already,
    r"([\w/]+) appears more than once": _set_already,
    r"force-add of config groups is not supported: '\++([^'=]+)": _set_already,
    r"Could not delete (?:from config\. )?(?:The value of )?'([^'=]+)(=[^']*)?'": _nothing_to_delete,
    r"Ambiguous value for argument '([^']+)'": _ambiguous,
}
"""Hydra's errors, and what each means to a :class:`Command` and the groups of the pattern."""
