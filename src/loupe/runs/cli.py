"""What every entry shares: compose the configuration, run the job, and explain in one line what the user got wrong."""

import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from loupe.errors import Interrupted, UserError
from loupe.grpo import distributed
from loupe.paths import CONF, package_path
from loupe.runs import config, folder, sweeps
from loupe.runs.checks import require_arguments, require_documented, require_read
from loupe.runs.disk import FIXES
from loupe.runs.files import RunFile
from loupe.runs.renamed import refuse_renamed
from loupe.runs.resume import own_folders, own_settings
from loupe.runs.suggest import Command, explained, in_order, with_places
from loupe.tools import forms

LOG = logging.getLogger(__name__)
HOME = re.compile(r"(?:^|(?<=[\[,]))~(?=/)")
"""A ``~`` that begins a path."""
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, *FIXES}


def entry(
    task: Callable[[DictConfig], object],
    literal: tuple[str, ...] = (),
    objective: Callable | None = None,
    places: str | None = None,
) -> Callable[[], None]:
    """The command of ``task``, with Hydra's overrides and multirun. ``debug=true`` shows tracebacks.

    task: named like its configuration in conf/. literal: keys whose values are taken as typed, whatever characters they
    hold; Hydra's grammar would refuse many. objective: computes from the task's result the number that a sweeper such
    as Optuna's optimizes. places: the key that takes arguments that are no overrides.
    """

    bugs: list[Exception] = []  # of the jobs themselves

    def job(cfg: DictConfig):
        # For a single run this is the folder asked for; for a sweep Hydra makes one folder per job below it.
        cfg.paths.output_dir = HydraConfig.get().runtime.output_dir
        try:
            result = task(checked(cfg))
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
        sys.argv[1:] = with_places([quoted(at_home(argument), literal) for argument in sys.argv[1:]], places)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)  # they end a job as Ctrl-C does
        try:
            sys.argv[1:] = in_order(sys.argv[1:])
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


def at_home(argument: str) -> str:
    """``key=~/name``, also in a list, with the home folder for the ``~``, which Hydra's grammar refuses."""
    key, given, value = argument.partition("=")
    return f"{key}{given}{HOME.sub(lambda _: str(Path.home()), value)}"


def quoted(argument: str, literal: tuple[str, ...]) -> str:
    """``key=value`` with the value as a quoted string of Hydra's grammar, if the key is one of ``literal``."""
    key, given, value = argument.partition("=")
    return f"{key}={config.quoted(value)}" if given and key in literal else argument


def checked(cfg: DictConfig) -> DictConfig:
    """The settings of a job. Raises UserError for those that have no effect, and for files that would not be read."""
    require_read(folders := config.config_folders())
    config.make_importable(folders)
    require_documented(cfg)
    cfg = with_own_settings(cfg)
    require_arguments(cfg)
    return cfg


def with_own_settings(cfg: DictConfig) -> DictConfig:
    """``cfg``; for a resumed run, its own settings. A path that does not exist is refused later."""
    own = Path(folder.run_folder(cfg.resume, ""))
    if not cfg.resume or not (own / RunFile.CONFIG).exists():
        return cfg
    config.make_importable(own_folders(own))
    return own_settings(cfg, own)


def output_folder(arguments: list[str]) -> Path:
    """The folder that a job will write to, or one above it; Hydra makes it before it calls the job.

    Raises UserError if it is empty, which would mean the current folder, or if ``resume`` is, which would mean a new
    run.
    """
    given: dict = {"resume": None, "paths.output_dir": "outputs"}
    for argument in arguments:
        if (key := argument.partition("=")[0]) in given:
            given[key] = OverridesParser.create().parse_overrides([argument])[0].value()
    resume, output = given.values()
    if not str(output or "").strip():
        raise UserError("paths.output_dir is empty; name a folder, or leave it out")
    if isinstance(resume, str) and not resume.strip():
        raise UserError("resume is empty; name the folder of a run, or leave it out")
    return Path(folder.run_folder(resume if isinstance(resume, str | int) else None, str(output))).absolute()


def explain(error: BaseException) -> str | None:
    """One line for an error that the user caused, None for a bug."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, UserError):
        link = link.__cause__
    if link is not None:
        return f"{link.prefix}{link}"
    if isinstance(error, OverrideParseException):
        return f"error: {error.override}: not a valid override; quote values with spaces, commas or brackets"
    if isinstance(error, InstantiationException) and error.__cause__:
        return None  # raised by what is built
    if isinstance(error, HydraException):
        with suppress(UserError):  # the settings that would explain it may be damaged as well
            return f"error: {explained(error, Command(Path(sys.argv[0]).stem, tuple(sys.argv[1:])))}"
    if isinstance(error, InterpolationKeyError):
        return f"error: {error.full_key}: {str(error).splitlines()[0]}; it names a setting that there is not"
    if isinstance(error, HydraException | OmegaConfBaseException | MisconfigurationException):
        return f"error: {' '.join(str(error).split())}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"error: {error.problem_mark.name}, line {error.problem_mark.line + 1}: not valid YAML; {error.problem}"
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


OmegaConf.register_new_resolver("run_folder", folder.run_folder, replace=True)
OmegaConf.register_new_resolver("package_path", package_path, replace=True)
OmegaConf.register_new_resolver("short_hash", sweeps.short_hash, replace=True)
OmegaConf.register_new_resolver("same_job", lambda: list(config.SAME_JOB), replace=True)
OmegaConf.register_new_resolver("zoom_opening", forms.zoom_opening, replace=True)
OmegaConf.register_new_resolver("sweep_name", config.sweep_name, replace=True)
