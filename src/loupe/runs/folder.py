"""The folder of a job: may the job write or resume there, or has it finished? What an earlier job left is kept."""

import json
import logging
import os
import shutil
from functools import reduce
from itertools import count
from pathlib import Path

from omegaconf import DictConfig

from loupe.atomic import remove_partial, write_json
from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.grpo.module import NON_FINITE
from loupe.logs.jsonl import JsonlLogger
from loupe.logs.rows import read_rows
from loupe.paths import moved, of_setting
from loupe.runs import checkpoints
from loupe.runs.config import SAME_JOB, in_sweep, resolved
from loupe.runs.files import ANSWERS, BEST, EVALUATION, LAST, PREVIOUS, SETTINGS, RunFile, read_json
from loupe.runs.provenance import write_provenance
from loupe.runs.resume import changed_settings, record_part, require_same_command, saved_settings
from loupe.runs.snapshots import drop_later

LOG = logging.getLogger(__name__)
MOVING = "previous.moving"
OF_RUN = (RunFile.CHECKPOINTS, RunFile.METRICS, RunFile.SUMMARY, RunFile.MODEL)
"""A folder with any of these holds a training run, whatever else has been deleted."""


def run_folder(resume: str | int | None, new: str) -> str:
    """Where a run writes: a resumed run in its own folder, any other in ``new``.

    resume: a run's folder, its folder of checkpoints, or a checkpoint file in that; the name of a folder may be a
    number. A path that does not exist is refused later.
    """
    if not resume or not os.path.exists(path := of_setting(resume)):  # unlike Path.exists, also for a long name
        return new
    if path.is_file():
        return str(path.parent.parent)
    return str(path.parent if path.name == RunFile.CHECKPOINTS else path)


def finished_before(cfg: DictConfig, folder: Path) -> dict | None:
    """The summary of a job that an earlier start of the same sweep finished; an unfinished one is set to resume.

    A job whose settings have changed since (in the files, because its overrides are the same) restarts.
    """
    if not in_sweep() or not (folder / RunFile.CONFIG).exists():
        return None
    try:
        changed = _identity(saved_settings(folder)) != _identity(cfg)
    except UserError as error:
        LOG.warning("%s; the job restarts", error)
        return None
    if changed:
        LOG.warning("%s: the settings have changed since this job ran; it restarts", folder)
        return None
    if (folder / RunFile.SUMMARY).exists():
        try:
            summary = read_json(folder / RunFile.SUMMARY)
            LOG.info("%s: already finished", folder)
            return summary
        except UserError as error:
            LOG.warning("%s; the job goes on from its last checkpoint", error)
    if (folder / RunFile.CHECKPOINTS / LAST).exists():
        cfg.resume = str(folder)
    return None


def _identity(cfg: DictConfig) -> dict:
    """The settings that distinguish jobs. The folder is not one of them: a sweep may have been moved."""
    settings = moved(resolved(cfg), cfg.paths.output_dir, "")
    for key in SAME_JOB:
        *groups, name = key.split(".")
        reduce(_group, groups, settings).pop(name, None)
    return settings


def _group(settings: dict, name: str) -> dict:
    """A group of settings; empty if there is none, or if the file was cut off in its midst and it is text."""
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def open_for_training(cfg: DictConfig, folder: Path) -> dict:
    """Prepare the folder once everything could be built: set an earlier run aside, or resume it; write the provenance.

    Returns the checkpoint to resume from; empty for a new run. Only the main rank changes the folder.
    """
    path, earlier = checkpoint_path(cfg), read_checkpoint(cfg)
    if distributed.is_main():
        if path:
            if earlier["global_step"] < cfg.trainer.max_steps:  # a finished run that is extended is unfinished again
                (folder / RunFile.SUMMARY).unlink(missing_ok=True)
            checkpoints.make_last(Path(path), folder / RunFile.CHECKPOINTS)  # first: later rows are lost with it
            checkpoints.drop_later_best(folder / RunFile.CHECKPOINTS, earlier["global_step"])
            JsonlLogger(folder).resume(earlier["global_step"])
            drop_later(folder / RunFile.SNAPSHOTS, earlier["global_step"])
        elif aside := make_room(folder):
            LOG.info("%s held an earlier run, which is now in %s", folder, aside)
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / RunFile.CHECKPOINTS, folder / RunFile.SNAPSHOTS):
            remove_partial(place)
        if path:
            record_part(folder, earlier["global_step"], _changes(cfg, folder))
        else:
            write_provenance(cfg, folder)
    return earlier


def _changes(cfg: DictConfig, folder: Path) -> dict:
    """The settings in which ``cfg`` differs from the start of the run in ``folder``."""
    return changed_settings(resolved(saved_settings(folder)), resolved(cfg))


def open_for_entry(cfg: DictConfig, folder: Path) -> None:
    """Prepare the folder of an entry that does not train. Raises UserError if it would overwrite a run."""
    if cfg.resume:
        raise UserError(f"resume={cfg.resume}: only training can be resumed; give model.path=<run>/model")
    if any((folder / name).exists() for name in OF_RUN):
        raise UserError(f"paths.output_dir={folder}: holds a run; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)


def open_for_answers(folder: Path, settings: dict) -> dict:
    """Record the settings of an evaluation. Raises UserError if the folder holds answers given under others.

    Returns the recorded settings: answers of another commit are kept, with a warning, and so is its name.
    """
    path = folder / SETTINGS
    settings = json.loads(json.dumps(settings))
    if path.exists() and (folder / ANSWERS).exists():
        earlier = read_json(path)
        answered = {row["condition"] for row in read_rows(folder / ANSWERS)}
        then, now = ({key: given.get(key) for key in settings if key != "commit"} for given in (earlier, settings))
        if changed := changed_settings(*_without_unanswered(then, now, answered)):
            raise UserError(
                f"paths.output_dir={folder}: holds answers given under other settings ({', '.join(changed)}); "
                "choose another folder, or delete this one"
            )
        if settings["commit"] != earlier["commit"]:
            LOG.warning("%s: holds answers given by commit %s; they are kept", folder, earlier["commit"])
            settings["commit"] = earlier["commit"]
    remove_partial(folder)
    write_json(path, settings)
    return settings


def _without_unanswered(then: dict, now: dict, answered: set[str]) -> tuple[dict, dict]:
    """Both settings, of the conditions only those that both know and that have answers; others may be changed."""
    then_known, now_known = ((given["evaluate"] or {}).get("known", {}) for given in (then, now))
    both = then_known.keys() & now_known.keys() & answered

    def reduced(given: dict, known: dict) -> dict:
        return given | {"evaluate": (given["evaluate"] or {}) | {"known": {name: known[name] for name in both}}}

    return reduced(then, then_known), reduced(now, now_known)


def make_room(folder: Path) -> Path | None:
    """:func:`set_aside`. Raises UserError for a folder with answers alone, whose records a run would overwrite."""
    aside = set_aside(folder)
    if not aside and any((folder / name).exists() for name in (ANSWERS, EVALUATION)):
        raise UserError(f"paths.output_dir={folder}: holds answers of an evaluation or a mining; choose another folder")
    return aside


def set_aside(folder: Path) -> Path | None:
    """Move what an earlier run left in this folder to previous-N. Returns that folder, or None if there was no run.

    A process that is killed meanwhile leaves some of it in the folder MOVING, and the next one moves the rest.
    """
    moving = folder / MOVING
    if not any((folder / name).exists() for name in (MOVING, *OF_RUN)):
        return None
    moving.mkdir(exist_ok=True)
    for path in [path for pattern in (*RunFile, NON_FINITE) for path in folder.glob(str(pattern))]:
        shutil.move(path, moving / path.name)
    return moving.rename(next(path for n in count(1) if not (path := folder / f"previous-{n}").exists()))


def checkpoint_path(cfg: DictConfig) -> str | None:
    """The checkpoint that ``resume`` names: a file, or the last one in a run's folder; None for a new run."""
    if not cfg.resume:
        return None
    path = of_setting(cfg.resume)
    if not os.path.isfile(path):
        path = Path(run_folder(cfg.resume, str(cfg.resume))) / RunFile.CHECKPOINTS / LAST
    if not os.path.isfile(path):
        raise UserError(f"resume={cfg.resume}: no checkpoint at {path}; give a checkpoint file or a run's folder")
    return str(path)


def read_checkpoint(cfg: DictConfig) -> dict:
    """The checkpoint that ``resume`` names, once it is known to fit this configuration; empty for a new run."""
    if (path := checkpoint_path(cfg)) is None:
        return {}
    own = Path(run_folder(cfg.resume, ""))
    if own.resolve() != Path(cfg.paths.output_dir).resolve():
        raise UserError(
            f"resume={cfg.resume}: a run resumes in its own folder; leave out paths.output_dir, or copy {own}"
        )
    try:
        state = checkpoints.read(path)
    except checkpoints.UNREADABLE as error:
        others = [other for name in (PREVIOUS, BEST) if (other := Path(path).with_name(name)).is_file()]
        named = " or ".join(f"resume={other}" for other in others if other != Path(path))
        fix = f"{named} continues from there" if named else "give another"
        raise UserError(f"resume={cfg.resume}: {path} is damaged or not a checkpoint; {fix}") from error
    if not isinstance(state, dict) or "global_step" not in state:
        raise UserError(f"resume={cfg.resume}: not a checkpoint of a training run")
    require_same_command(own)
    if state["global_step"] > cfg.trainer.max_steps:
        raise UserError(
            f"trainer.max_steps={cfg.trainer.max_steps}: the checkpoint is of step {state['global_step']}; "
            "give as many or more, or resume from an earlier one"
        )
    if distributed.is_main():  # which is about to rewrite the file
        changed = _changes(cfg, own)
        if any(name.startswith("model.") for name in changed):
            raise UserError("resume: the model settings differ from those in the run's config.yaml; use the same ones")
        if differing := [f"{name}={value}" for name, value in changed.items() if name.endswith("optimizer._target_")]:
            raise UserError(f"resume: {differing[0]} cannot use the state of the run's optimizer; leave it as it was")
        if changed:
            named = ", ".join(f"{name}={value}" for name, value in changed.items())
            kept = "scores before training stay as they were"
            LOG.warning("resuming with settings that differ from the start of the run: %s; %s", named, kept)
    return state
