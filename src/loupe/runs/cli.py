"""What every entry shares: compose the configuration, run the job, and explain in one line what the user got wrong."""

import difflib
import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loupe.errors import Interrupted, UserError
from loupe.grpo import distributed
from loupe.paths import CONF, package_path
from loupe.runs import config, folder, sweeps
from loupe.runs.disk import FIXES
from loupe.runs.files import RunFile
from loupe.runs.resume import own_folders, own_settings
from loupe.tools import forms

LOG = logging.getLogger(__name__)
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, *FIXES}
RENAMED = {  # former spellings of overrides, which are refused with the new one
    "reward=hard_only": "reward=accuracy_only",
    "reward.weights.hard": "reward.weights.accuracy",
    "reward.terms.hard": "reward.terms.accuracy",
    "tool.crop": "tool.zoom.crop",
    "tool.instruction": "tool.zoom.instruction",
    "tool.output_size": "tool.zoom.output_size",
    "tool.pixels": "tool.zoom.pixels",
}


def entry(
    task: Callable[[DictConfig], object], literal: tuple[str, ...] = (), objective: Callable | None = None
) -> Callable[[], None]:
    """The command of ``task``, with Hydra's overrides and multirun. ``debug=true`` shows tracebacks.

    task: named like its configuration in conf/. literal: keys whose values are taken as typed, whatever characters they
    hold; Hydra's grammar would refuse many. objective: computes from the task's result the number that a sweeper such
    as Optuna's optimizes.
    """

    bugs: list[Exception] = []  # of the jobs themselves

    def job(cfg: DictConfig):
        # For a single run this is the folder asked for; for a sweep Hydra makes one folder per job below it.
        cfg.paths.output_dir = HydraConfig.get().runtime.output_dir
        try:
            config.make_importable(config.config_folders())
            require_groups(cfg)
            result = task(with_own_settings(cfg))
            return objective(result) if objective else result
        except Exception as error:
            message = explain(error)
            if message is None or wants_traceback():
                bugs.append(error)
                raise
            if HydraConfig.get().mode == RunMode.RUN or isinstance(error, Interrupted):
                sys.exit(distributed.signed(message))
            LOG.error(message)  # the other jobs of a sweep continue; Hydra raises this error again at the end
            raise

    def main() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, and explain() speaks
        sys.argv[1:] = [quoted(argument, literal) for argument in sys.argv[1:]]
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # they end a job as Ctrl-C does
        try:
            refuse_renamed(sys.argv[1:])
            output_folder(sys.argv[1:])  # refuses an empty one
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=task.__name__)(job)()
        except Exception as error:
            message = explain(error) or (None if error in bugs else explain_folder(error, output_folder(sys.argv[1:])))
            if message is None or wants_traceback():
                raise
            sys.exit(message)
        except KeyboardInterrupt:
            sys.exit("\nstopped")

    return main


def quoted(argument: str, literal: tuple[str, ...]) -> str:
    """``key=value`` with the value as a quoted string of Hydra's grammar, if the key is one of ``literal``."""
    key, given, value = argument.partition("=")
    return f"{key}={config.quoted(value)}" if given and key in literal else argument


def with_own_settings(cfg: DictConfig) -> DictConfig:
    """``cfg``; for a resumed run, its own settings. A path that does not exist is refused later."""
    own = Path(folder.run_folder(cfg.resume, ""))
    if not cfg.resume or not (own / RunFile.CONFIG).exists():
        return cfg
    config.make_importable(own_folders(own))
    return own_settings(cfg, own)


def require_groups(cfg: DictConfig) -> None:
    """Raise UserError if a group of settings is something else, as after evaluate=null."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir() and path.name != "experiment"]
    for file in map(OmegaConf.load, CONF.glob("*.yaml")):
        for key, value in file.items_ex(resolve=False):
            if OmegaConf.is_dict(value):
                groups += [key, *(f"{key}.{k}" for k, part in value.items_ex(resolve=False) if OmegaConf.is_dict(part))]
    for name in sorted(groups):
        above, _, key = name.rpartition(".")
        within = OmegaConf.select(cfg, above) if above else cfg
        if OmegaConf.is_dict(within) and key in within and not OmegaConf.is_dict(within[key]):
            raise UserError(f"{name}={within[key]}: must be a group of settings; set those in it, as {name}.<key>=..")


def refuse_renamed(arguments: list[str]) -> None:
    """Raise UserError for an override in a former spelling, naming the new one."""
    for argument in arguments:
        for former, name in RENAMED.items():
            if re.match(rf"[+~]*{re.escape(former)}\b", argument):
                raise UserError(f"{argument}: this is called {name} now")


def output_folder(arguments: list[str]) -> Path:
    """The folder that a job will write to, or one above it; Hydra makes it before it calls the job.

    Raises UserError if it is empty, which would mean the current folder.
    """
    given: dict = {"resume": None, "paths.output_dir": "outputs"}
    for argument in arguments:
        if (key := argument.partition("=")[0]) in given:
            given[key] = OverridesParser.create().parse_overrides([argument])[0].value()
    resume, output = given.values()
    if not str(output or "").strip():
        raise UserError("paths.output_dir is empty; name a folder, or leave it out")
    return Path(folder.run_folder(resume if isinstance(resume, str) else None, str(output))).absolute()


def explain(error: BaseException) -> str | None:
    """One line for an error that the user caused, None for a bug."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, UserError):
        link = link.__cause__
    if link is not None:
        return f"{link.prefix}{link}"
    if isinstance(error, OverrideParseException):
        return f"error: {error.override}: not a valid override; quote values with spaces, commas or brackets"
    if isinstance(error, HydraException | OmegaConfBaseException | MisconfigurationException):
        text = str(error).partition("Config search path")[0]
        return f"error: {_suggestion(text)}{' '.join(text.split())}"
    if str(error).startswith("Config group override"):  # Hydra, for data=null
        return f"error: {error}; name one of the group's files, such as data=signs"
    return None


def explain_folder(error: BaseException, output: Path) -> str | None:
    """One line if Hydra could not create ``output``, or write there, before any job started; None for a bug."""
    if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
        return None
    path = Path(error.filename or output).absolute()  # a write, unlike an open, names no file
    if path.is_relative_to(output) or output.is_relative_to(path):
        return f"error: cannot write {path}: {error.strerror}; choose another paths.output_dir"
    return None


def wants_traceback() -> bool:
    """Whether debug was set. Read from the arguments, because the configuration itself may be what is wrong."""
    return any(re.fullmatch(r"\+*debug=(true|1|yes|on)", argument, re.IGNORECASE) for argument in sys.argv)


def _suggestion(text: str) -> str:
    """For a mistyped key or group, the nearest one; for a folder of a group, its choices."""
    group = re.search(r"Could not find '(\w+)/([\w/]+)'", text)
    if group and (found := sorted((CONF / group[1] / group[2]).glob("*.yaml"))):
        return f"{group[2]} is a folder of {', '.join(f'{group[1]}={group[2]}/{path.stem}' for path in found)}. "
    mistyped = re.search(r"Could not override '((\w+)[\w.]*)", text)
    if mistyped is None:
        return ""
    key, name = mistyped.groups()
    known = {key for path in CONF.glob("*.yaml") for key in OmegaConf.load(path)}
    known |= {path.name for path in CONF.iterdir() if path.is_dir()}
    if name in known:  # Hydra applies a sweep's fixed overrides before the choices that it sweeps over
        return f"if {name} is swept over, write ++{key}=... " if {"-m", "--multirun"} & {*sys.argv} else ""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


OmegaConf.register_new_resolver("run_folder", folder.run_folder, replace=True)
OmegaConf.register_new_resolver("package_path", package_path, replace=True)
OmegaConf.register_new_resolver("short_hash", sweeps.short_hash, replace=True)
OmegaConf.register_new_resolver("same_job", lambda: list(config.SAME_JOB), replace=True)
OmegaConf.register_new_resolver("zoom_opening", forms.zoom_opening, replace=True)
OmegaConf.register_new_resolver("sweep_name", config.sweep_name, replace=True)
