"""What Hydra knows about the current job: its configuration, the objects it describes, its command, its sweep."""

import re
import shlex
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loupe.paths import CONF
from loupe.runs import checks

CONFIG_DIR = "--config-dir="
OF_WANDB = ("mode", "project", "entity", "group", "name", "tags", "notes")
WITHOUT_EFFECT = (
    *("paths.output_dir", "resume", "debug", "trainer.enable_progress_bar"),
    *("logger", *(f"logger.{name}" for name in OF_WANDB)),
)
"""Settings that do not change a job's results."""
SAME_JOB = (*WITHOUT_EFFECT, "threads")
"""Settings that do not distinguish jobs. The number of threads decides the order of sums, and so the last digits; but a
job that resumes with another number is still the same job."""


def resolved(cfg: DictConfig) -> dict:
    """The configuration as a plain dict with every interpolation filled in."""
    return OmegaConf.to_container(cfg, resolve=True)


def instantiate(node: DictConfig, **given):
    """The object that a configuration node describes; nested nodes become plain dicts and lists.

    ``given`` is passed as is, because Hydra would copy it: every part must hold the same policy. Raises UserError for
    settings that what is called does not take, that it lacks, or that ``given`` would overrule.
    """
    with checks.arguments(node, given):
        return factory(node)(**given)


def factory(node: DictConfig) -> partial:
    """A function that makes the object of :func:`instantiate` each time it is called; the node is read once."""
    return hydra.utils.instantiate(node, _convert_="all", _partial_=True)


def config_folders() -> list[Path]:
    """The folders from which this job takes configuration besides the project's own: that of ``--config-dir``."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [Path(source.path) for source in sources if source.schema == "file" and Path(source.path) != CONF]


def search_path(folders: Iterable[Path]) -> list[str]:
    """The override that lets :func:`hydra.compose` find configuration in ``folders``; none without folders."""
    places = ",".join(quoted(f"file://{folder}") for folder in folders)
    return [f"hydra.searchpath=[{places}]"] if places else []


def make_importable(folders: Iterable[Path]) -> None:
    """Let ``_target_`` and terms name modules in the current folder, in ``folders``, and in those that hold them.

    They come last in Python's search path, so that no file there hides an installed module.
    """
    here = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()
    for place in (here, *(place for folder in folders for place in (folder, folder.parent))):
        if str(place) not in sys.path:
            sys.path.append(str(place))


def command_line(typed: bool = False) -> str:
    """The command of this job, quoted for the shell, without its output folder and what it resumes.

    typed: with the entry's path as it was typed, which works in the current folder; else it works in the project's.
    """
    job, overrides = "train", []
    if HydraConfig.initialized():
        job, overrides = HydraConfig.get().job.config_name, HydraConfig.get().overrides.task
    kept = [override for override in overrides if not override.startswith(("paths.output_dir=", "resume="))]
    entry = sys.argv[0] if typed and Path(sys.argv[0]).name == f"{job}.py" else f"src/{job}.py"
    return shlex.join(["python", entry, *(f"{CONFIG_DIR}{folder}" for folder in config_folders()), *kept])


def override(key: str, value: str | Path) -> str:
    """``key=value`` as Hydra's grammar reads it, quoted for the shell."""
    plain = re.fullmatch(r"[\w./+@-]+", str(value), re.ASCII)
    return shlex.quote(f"{key}={value if plain else quoted(str(value))}")


def quoted(value: str) -> str:
    """``value`` as a quoted string of Hydra's grammar.

    Within quotes, only a quote, the backslashes before one or at the end, and ``${`` have a meaning.
    """
    value = re.sub(r"(\\*)('|\$\{)", r"\1\1\\\2", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", value) + "'"


def in_sweep() -> bool:
    """Whether this is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep_name() -> str | None:
    """The name of the sweep's folder; None outside of a sweep."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None
