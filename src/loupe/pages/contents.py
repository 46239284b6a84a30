"""What stands on the page of a folder: a run, an evaluation or a sweep, finished or not."""

import json
import re
from functools import cache
from pathlib import Path

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from loupe.errors import UserError
from loupe.logs.rows import METRICS, TRAJECTORIES, read_rows
from loupe.metrics.effect import COMPARISONS
from loupe.metrics.rows import Rows
from loupe.metrics.summary import CORRECT
from loupe.pages.cards import VALIDATION, gallery, pointed
from loupe.pages.curves import advantages, charts, overlaid
from loupe.paths import CONF
from loupe.runs.files import ANSWERS, EVALUATION, RunFile, read_json
from loupe.runs.resume import changed_settings, saved_settings
from loupe.runs.sweeps import SETTING, compared, job_rows, settings_of
from loupe.runs.text import comparison, format_value

PARQUET = "answers.parquet"
STATED = ("score", "iou", "zoom_rate", "failed_call_rate", "n")


def contents(folder: Path, most: int) -> dict:
    """Everything that the template shows. most: the largest number of cards. Raises UserError for any other folder."""
    if (folder / METRICS).exists():
        return _run(folder, most)
    if (folder / ANSWERS).exists():
        return _evaluation(folder, most)
    if rows := job_rows(folder):
        found = {"jobs": jobs(folder, rows), "multiples": multiples(folder, rows)}
        return {"kind": "sweep", "title": folder.resolve().name} | found
    raise UserError(
        f"folder={folder}: holds no run ({METRICS}), evaluation ({ANSWERS}) or finished job of a sweep; give the "
        "paths.output_dir of one"
    )


def anything(folder: Path) -> bool:
    """Whether there is something that a page could show."""
    return any((folder / name).exists() for name in (METRICS, ANSWERS)) or any(folder.glob("*/.hydra"))


def _run(folder: Path, most: int) -> dict:
    steps = read_rows(folder / METRICS)
    recorded = read_rows(folder / TRAJECTORIES) if (folder / TRAJECTORIES).exists() else []
    summary = read_json(folder / RunFile.SUMMARY) if (folder / RunFile.SUMMARY).exists() else None
    cards = _training_first(gallery(_held_out_first(recorded), most))
    state, table = f"step {steps[-1]['step'] if steps else 0} so far", None
    if summary:
        state = f"trained for {summary['seconds']:,.0f} s"
        rows = comparison(summary["before"], summary["after"])
        table = {"head": ["held-out questions", "before", "after"], "rows": rows}
    return _head(folder, "run", state) | {
        "table": table,
        "charts": charts(steps),
        "advantages": advantages(steps),
        "pointed": pointed(cards),
        "films": any(group["place"] == VALIDATION for group in cards["groups"]),
        "gallery": cards,
    }


def _evaluation(folder: Path, most: int) -> dict:
    finished = (folder / EVALUATION).exists() and (folder / PARQUET).exists()
    rows = _answers(folder / PARQUET) if finished else _answers_so_far(folder)
    cards = gallery(sorted(rows, key=_numbered(rows)), most)
    state = f"{len(rows):,} answers" if finished else f"{len(rows):,} answers so far"
    table = _conditions(read_json(folder / EVALUATION)) if finished else None
    return _head(folder, "evaluation", state) | {
        "table": table,
        "confusion": confusion(rows),
        "pointed": pointed(cards),
        "gallery": cards,
    }


def _answers(path: Path) -> Rows:
    from loupe.evaluation.journal import read_parquet  # only here: a training run needs no tables

    return read_parquet(path)


def _answers_so_far(folder: Path) -> Rows:
    return [row for outcome in read_rows(folder / ANSWERS) for row in outcome["rows"]]


def _numbered(rows: Rows):
    """A sort key that brings the answers to one question together, in the order of the questions."""
    order = {name: number for number, name in enumerate(dict.fromkeys(row["id"] for row in rows))}
    return lambda row: order[row["id"]]


def _held_out_first(rows: Rows) -> Rows:
    """Held-out answers, then those of training steps from the last one back: what does not fit is the oldest."""
    return sorted(rows, key=lambda row: -row["step"] if row["split"] == "train" else float("-inf"))


def _training_first(found: dict) -> dict:
    """The gallery with the groups of training steps, in which answers compete, before those of held-out questions."""
    return found | {"groups": sorted(found["groups"], key=lambda group: group["step"] is None)}


def _head(folder: Path, kind: str, state: str) -> dict:
    """Title, facts and changed settings of a job."""
    origin = _origin(folder)
    commit = f"{origin['commit']}{' with uncommitted changes' if origin.get('uncommitted') else ''}" if origin else "-"
    facts = {"command": origin.get("command", "-"), "commit": commit, "started": origin.get("started", "-")}
    cfg, own = job_settings(folder)
    weights = OmegaConf.to_container(cfg.reward.weights) if OmegaConf.select(cfg, "reward.weights") else {}
    return {
        "kind": kind,
        "title": folder.resolve().name,
        "facts": facts | {"state": state},
        "settings": {key: json.dumps(value) for key, value in own.items()},
        "weights": weights,
    }


def _origin(folder: Path) -> dict:
    path = folder / RunFile.PROVENANCE
    return read_json(path) if path.exists() else {}


def job_settings(folder: Path) -> tuple[DictConfig, dict]:
    """The settings of a job, and those of them that differ from the defaults (:func:`own_choices`)."""
    command = str(_origin(folder).get("command", "")).split()
    name = Path(command[1]).stem if len(command) > 1 else "train"
    cfg = saved_settings(folder) if (folder / RunFile.CONFIG).exists() else OmegaConf.create()
    return cfg, own_choices(name, cfg)


def own_choices(name: str, cfg: DictConfig) -> dict:
    """The settings of a job that differ from the defaults of ``conf/<name>.yaml``, by dotted name.

    Left out are settings that only repeat another one, as ``tool.zoom.size`` repeats ``crop``.
    """
    if not cfg or not (CONF / f"{name}.yaml").is_file():
        return {}
    default = _default(name)
    changed = changed_settings(OmegaConf.to_container(default, resolve=True), OmegaConf.to_container(cfg))
    return {key: value for key, value in changed.items() if not _repeats(default, cfg, key)}


@cache
def _default(name: str) -> DictConfig:
    return compose(name, overrides=["paths.output_dir=."])


def _repeats(default: DictConfig, given: DictConfig, key: str) -> bool:
    """Whether a setting is by default a reference, such as ``${crop}``, and still has the value of what that names."""
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(default, group) if group else default
    written = OmegaConf.to_container(node).get(name) if OmegaConf.is_dict(node) else None
    reference = re.fullmatch(r"\$\{([\w.]+)\}", str(written))
    return reference is not None and OmegaConf.select(given, reference[1]) == OmegaConf.select(given, key)


def _conditions(report: dict) -> dict:
    """A row per metric and part, a column per condition; then what the tool is worth, by part."""
    conditions = report["conditions"]
    keys = dict.fromkeys(
        (metric, part) for found in conditions.values() for metric in STATED for part in found.get(metric, {})
    )
    rows = [
        [f"{metric}/{part}", *(format_value(found.get(metric, {}).get(part)) for found in conditions.values())]
        for metric, part in keys
    ]
    for metric in COMPARISONS:
        rows += [
            [f"{metric}/{part}", format_value(value), *[""] * (len(conditions) - 1)]
            for part, value in report.get(metric, {}).items()
        ]
    return {"head": ["", *conditions], "rows": rows}


def confusion(rows: Rows) -> dict | None:
    """How many questions are answered correctly with and without the tool; None unless both were asked."""
    right: dict[str, dict[str, bool]] = {}
    for row in rows:
        right.setdefault(row["condition"], {})[row["id"]] = row["score"] >= CORRECT
    if not {"greedy", "no_tool"} <= right.keys():
        return None
    greedy, without_tool = right["greedy"], right["no_tool"]
    both = [(greedy[name], without_tool[name]) for name in greedy.keys() & without_tool.keys()]
    return {
        "head": ["questions", "right without tool", "wrong without tool"],
        "rows": [
            [label, *(str(both.count((with_tool, without))) for without in (True, False))]
            for label, with_tool in (("right with tool", True), ("wrong with tool", False))
        ],
    }


def multiples(folder: Path, rows: Rows) -> list[dict]:
    """For each setting of a sweep, seeds aside, the curves of its runs; none of evaluations."""
    groups: dict[str, list[Rows]] = {}
    for row in rows:
        if (path := folder / row["job"] / METRICS).exists():
            given = {key.removeprefix(SETTING): value for key, value in settings_of(row).items()}
            title = " ".join(f"{key}={value}" for key, value in given.items() if key != "seed")
            groups.setdefault(title, []).append(read_rows(path))
    return [{"title": title, "runs": len(runs), "charts": overlaid(runs)} for title, runs in groups.items()]


def jobs(folder: Path, rows: Rows) -> dict:
    """The table of a sweep's finished jobs, and which of them have a page."""
    head, *lines = compared(rows)
    pages = [(folder / row["job"] / RunFile.REPORT).exists() for row in rows]
    return {
        "head": head,
        "rows": [{"job": job, "page": page, "cells": cells} for page, (job, *cells) in zip(pages, lines, strict=True)],
    }
