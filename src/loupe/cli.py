"""The frame of every entry: compose the configuration, run one job, and say in one line what the user got wrong."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loupe.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC}


def entry(config_name: str) -> Callable:
    """Turn ``task(cfg)`` into a command with Hydra's overrides and multirun. ``debug=true`` shows tracebacks."""

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], None]:
        def job(cfg: DictConfig):
            # Of one run Hydra knows the folder asked for; of a sweep it makes one folder per job below it.
            cfg.paths.output_dir = HydraConfig.get().runtime.output_dir
            with one_line_errors():
                return task(cfg)

        command = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)

        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, and explain() speaks
            with one_line_errors():
                command()

        return main

    return decorate


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for what the user got wrong; bugs keep their traceback."""
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None or "debug=true" in sys.argv:
            raise
        sys.exit(f"error: {message}")


def explain(error: BaseException) -> str | None:
    """One line for an error that the user caused, None for a bug."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, UserError):
            return str(link)
        link = link.__cause__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not a valid override; quote a value that holds spaces, commas or brackets"
    if isinstance(error, HydraException | OmegaConfBaseException | MisconfigurationException):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"cannot write {error.filename}: {error.strerror}; choose another paths.output_dir"
    return None


def resolved(cfg: DictConfig) -> dict:
    """The configuration as a plain dict, every interpolation filled in."""
    return OmegaConf.to_container(cfg, resolve=True)
