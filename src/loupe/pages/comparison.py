"""What stands on the page that compares several runs, evaluations among them."""

import json
import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.logs.rows import METRICS, read_rows
from loupe.pages.contents import job_settings
from loupe.pages.curves import side_by_side
from loupe.runs.config import WITHOUT_EFFECT
from loupe.runs.files import EVALUATION, RunFile, read_json
from loupe.runs.text import COMPARED, format_value

LACKING = object()  # of a setting that came later than the run


def comparison(folders: list[Path], home: Path) -> dict:
    """Everything that the template shows of these folders, by their names; links lead there from ``home``.

    Raises UserError for a folder without a run or an evaluation, and for one that is given twice.
    """
    names = [os.path.relpath(folder, home) for folder in folders]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{twice[0]} is given twice; name different folders")
    for folder in folders:
        if not any((folder / name).exists() for name in (METRICS, EVALUATION)):
            raise UserError(f"{folder}: holds no run ({METRICS}) or finished evaluation ({EVALUATION}) to compare")
    named = list(zip(names, folders, strict=True))
    steps = {name: read_rows(folder / METRICS) for name, folder in named if (folder / METRICS).exists()}
    return {
        "kind": "comparison",
        "title": f"{len(folders)} runs",
        "runs": [{"name": name, "page": (folder / RunFile.REPORT).exists()} for name, folder in named],
        "differing": {"head": ["setting", *names], "rows": differing(folders)},
        "table": {"head": ["", *names], "rows": results(folders)},
        "charts": side_by_side(steps),
    }


def differing(folders: list[Path]) -> list[list[str]]:
    """A row for each setting that someone chose and in which the jobs differ: its name, and its value in each."""
    jobs = [job_settings(folder) for folder in folders]
    chosen = dict.fromkeys(key for _, own in jobs for key in own)
    rows = [[key, *(_value(cfg, key) for cfg, _ in jobs)] for key in chosen if key not in WITHOUT_EFFECT]
    return [row for row in rows if len(set(row[1:])) > 1]


def _value(cfg: DictConfig, key: str) -> str:
    value = OmegaConf.select(cfg, key, default=LACKING)
    return "-" if value is LACKING else json.dumps(value, default=OmegaConf.to_container)


def results(folders: list[Path]) -> list[list[str]]:
    """A row for each metric, part and measurement (before and after training; the conditions of an evaluation)."""
    measured = list(map(_measured, folders))
    keys = dict.fromkeys(
        (metric, part, when)
        for metric in COMPARED
        for found in measured
        for when, summary in found.items()
        for part in summary.get(metric, {})
    )
    order = list(dict.fromkeys((metric, part) for metric, part, _ in keys))
    return [
        [f"{metric}/{part}, {when}", *(_cell(found, metric, part, when) for found in measured)]
        for metric, part, when in sorted(keys, key=lambda key: order.index(key[:2]))
    ]


def _cell(found: dict, metric: str, part: str, when: str) -> str:
    return format_value(found.get(when, {}).get(metric, {}).get(part))


def _measured(folder: Path) -> dict[str, dict]:
    """The summaries of a job by when, or how, they were measured; none of a run that goes on."""
    if (folder / RunFile.SUMMARY).exists():
        summary = read_json(folder / RunFile.SUMMARY)
        return {when: summary[when] for when in ("before", "after")}
    return read_json(folder / EVALUATION)["conditions"] if (folder / EVALUATION).exists() else {}
