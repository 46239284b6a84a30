"""Sweeps (multiruns): the name of a job's folder, and ``results.csv``, the table with one row per finished job."""

import logging
import shlex
from hashlib import sha256
from itertools import product
from pathlib import Path

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from loupe.atomic import replacing
from loupe.errors import UserError
from loupe.metrics.intervals import ENDS, flat, without_ends
from loupe.runs.config import CONFIG_DIR, WITHOUT_EFFECT
from loupe.runs.files import RunFile, read_json
from loupe.runs.resume import own_folders, own_overrides, own_seed
from loupe.runs.text import format_value, in_columns

LOG = logging.getLogger(__name__)
RESULTS = ("summary.json", "evaluation.json")  # what a finished training leaves, and a finished evaluation
SETTING = "setting/"  # prefix of the columns that hold a job's overrides and its seed
PRINTED = list(product(("after", "greedy"), ("score", "zoom_rate", "iou")))  # results.csv has all metrics


class Results(Callback):
    """Rewrites results.csv after every job, in case the sweep dies, and prints the table at the end."""

    def on_job_end(self, config: DictConfig, job_return: object, **kwargs: object) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            collect(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        folder = Path(config.hydra.sweep.dir)
        if rows := collect(folder):
            LOG.info("\n%s\n%d jobs; all metrics are in %s", table(rows), len(rows), folder / "results.csv")


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that name a job's folder after its overrides, so that a sweep that died can resume."""
    return sha256(text.encode()).hexdigest()[:8]


def collect(folder: Path) -> list[dict]:
    """One row per finished job below ``folder``, written to its results.csv."""
    rows = job_rows(folder)
    if rows:
        keys = dict.fromkeys(key for row in rows for key in row)
        import pandas  # only here: most commands need no tables

        columns = sorted(keys, key=lambda key: (key != "job", not key.startswith(SETTING)))
        with replacing(folder / "results.csv") as partial:  # jobs that run side by side all write the table
            pandas.DataFrame(rows, columns=columns, dtype=object).to_csv(partial, index=False)
    return rows


def job_rows(folder: Path) -> list[dict]:
    """One row per finished job below ``folder``, ordered by their settings."""
    found = {path.parent for name in RESULTS for path in folder.glob(f"*/{name}")}
    jobs = sorted(job for job in found if (job / ".hydra").is_dir())  # a folder that was set aside has none
    rows = []
    for job in jobs:
        try:
            rows.append(job_row(job))
        except UserError as error:
            LOG.warning("%s; the table leaves this job out", error)
    return sorted(rows, key=lambda row: [_natural(str(value)) for value in settings_of(row).values()])


def job_row(job: Path) -> dict:
    """The settings, commit, command and metrics of one job's folder; intervals as :func:`flat` writes them.

    The settings of a resumed job are those that it had last. The command is a sweep of this one job: without ``-m`` the
    experiment would fill in its own sweep.
    """
    results = read_json(next(job / name for name in RESULTS if (job / name).exists()))
    provenance = read_json(job / RunFile.PROVENANCE)  # .hydra may be that of a later sweep
    python, entry, *_ = shlex.split(provenance["command"])
    places = [f"{CONFIG_DIR}{place}" for place in own_folders(job)]
    given = {override: override.lstrip("+~").partition("=")[::2] for override in own_overrides(job)}
    given = {override: pair for override, pair in given.items() if pair[0] not in WITHOUT_EFFECT}
    settings = dict(given.values()) | {"seed": own_seed(job)}
    commit = results.pop("settings", provenance)["commit"]  # an evaluation's is the one that it started with
    if provenance.get("uncommitted", (job / "diff.patch").exists()):
        commit += "-dirty"
    results.pop("seed", None)  # it is among the settings
    conditions = results.pop("conditions", {})
    return {
        "job": job.name,
        **{f"{SETTING}{key}": value for key, value in settings.items()},
        "commit": commit,
        "command": shlex.join([python, entry, "-m", *places, *given]),
        **flat(results | conditions),
    }


def table(rows: list[dict]) -> str:
    """The table of :func:`compared`, as text."""
    return in_columns(compared(rows))


def compared(rows: list[dict]) -> list[list[str]]:
    """The settings in which the jobs differ, and their main metrics: a heading and a line for each job."""
    settings = dict.fromkeys(key for row in rows for key in settings_of(row))
    differing = [key for key in settings if len({str(row.get(key)) for row in rows}) > 1]
    keys = without_ends(dict.fromkeys(key for row in rows for key in row))
    metrics = [key for key in keys if tuple(key.split("/")[:2]) in PRINTED]
    lines = [["job", *(key.removeprefix(SETTING) for key in differing), *metrics]]
    for row in rows:
        given = (str(row.get(key, "-")) for key in differing)
        lines.append([row["job"], *given, *(_cell(row, key) for key in metrics)])
    return lines


def _cell(row: dict, key: str) -> str:
    if f"{key}/low" in row:
        return format_value({"mean": row[key]} | {end: row[f"{key}/{end}"] for end in ENDS})
    return format_value(row.get(key))


def settings_of(row: dict) -> dict:
    """The settings in a job's row, under their columns' names."""
    return {key: value for key, value in row.items() if key.startswith(SETTING)}


def _natural(text: str) -> tuple:
    """Sorts numbers by size, before all words."""
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
