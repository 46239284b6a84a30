"""What policies think about a sign that is named by its neighbor, and what their answers owe to it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean

from loupe.data.beside import Row
from loupe.data.scenes import SceneStyle
from loupe.errors import UserError
from loupe.evaluation.journal import read_parquet
from loupe.logs.history import history
from loupe.metrics.intervals import flat
from loupe.metrics.rows import Rows
from loupe.metrics.summary import paired
from loupe.rewards.boxes import box_iou
from loupe.runs.files import EVALUATION, read_json
from loupe.runs.sweeps import job_rows
from loupe.studies.gains import identity, trainings
from loupe.tags import tagged

NAMED = re.compile(r"I see (?P<placed>.*)\. \w+ of \w+ is \d: (?P<asked>[a-z]+)\.")
"""A thought that says where signs stand, and then names the one in question: see ``Desk.thoughtful``."""
LOGGED = {"words": "think/words", "iou": "reward/iou"}
"""What :func:`word_rows` reads of every training step."""
WINDOW = 5


def thought_rows(folder: Path) -> list[dict]:
    """:func:`thoughts` of each evaluation of a sweep and condition in which it asked.

    Raises UserError if the sweep has no evaluation, or its questions name no sign by its neighbor.
    """
    rows = []
    for job in job_rows(folder):
        if (path := folder / job["job"] / EVALUATION).exists():
            answers = read_parquet(path.with_name("answers.parquet"))
            scenes = _scenes(read_json(path)["settings"], {row["id"] for row in answers})
            for condition in dict.fromkeys(row["condition"] for row in answers):
                given = [row for row in answers if row["condition"] == condition]
                rows.append(identity(job) | {"condition": condition} | thoughts(given, scenes))
    if not rows:
        raise UserError(f"{folder}: no finished evaluation of a sweep in this folder")
    return rows


def word_rows(folder: Path) -> list[dict]:
    """The ``words`` of a thought and the ``iou`` in the course of each finished training, as means of ``WINDOW`` steps.

    Raises UserError if there is no finished training.
    """
    rows = []
    for job in trainings(folder):
        steps = [step for step in history(folder / job["job"]) if LOGGED["words"] in step]
        for end in range(WINDOW, len(steps) + 1, WINDOW):
            window = steps[end - WINDOW : end]
            means = {name: fmean(step[key] for step in window) for name, key in LOGGED.items()}
            rows.append(identity(job) | {"step": window[-1]["step"]} | means)
    return rows


def thoughts(rows: Rows, scenes: Mapping[str, Row]) -> dict[str, float | None]:
    """Of the answers of one policy, of which there is at least one; None where there is nothing to count.

    iou: the mean. named: the share of answers whose thought names a sign. right: the share of those that name the one
    that is asked for; placed: that say of every sign where it stands. follows: of thoughts that name another sign of
    the picture, the share whose box overlaps with that sign more than with any other.
    iou/named, iou/silent: the mean IoU after a thought that names a sign, and after any other; iou/right, iou/wrong:
    after one that names the right sign, and another. gain: the IoU after naming a sign minus that without, on the
    questions that have answers of both kinds, with its interval.
    scenes: by the id of their question.
    """
    read = [(row, scenes[row["id"]], _thought(row)) for row in rows]
    named = [(row, scene, thought) for row, scene, thought in read if thought]
    silent = [row for row, _, thought in read if not thought]
    right = [(row, thought["asked"] == scene.asked.color) for row, scene, thought in named]
    both = {row["id"] for row in silent} & {row["id"] for row, *_ in named}
    spoken = [row for row, *_ in named if row["id"] in both]
    return {
        "n": len(rows),
        "iou": _mean([row["iou"] for row in rows]),
        "named": len(named) / len(rows),
        "right": _mean([is_right for _, is_right in right]),
        "placed": _mean([thought["placed"].split() == _places(scene) for _, scene, thought in named]),
        "follows": _mean([_follows(*answer) for answer in named if _names_another(*answer)]),
        "iou/named": _mean([row["iou"] for row, *_ in named]),
        "iou/silent": _mean([row["iou"] for row in silent]),
        "iou/right": _mean([row["iou"] for row, is_right in right if is_right]),
        "iou/wrong": _mean([row["iou"] for row, is_right in right if not is_right]),
        **(_gain(silent, spoken) if both else {}),
    }


def _gain(silent: Rows, spoken: Rows) -> dict[str, float | None]:
    return flat({"gain": asdict(paired(silent, spoken, lambda one, other: other - one, metric="iou"))})


def _thought(row: dict) -> re.Match[str] | None:
    return NAMED.fullmatch(next(iter(tagged(row["turns"][0], "think")), ""))


def _places(scene: Row) -> list[str]:
    return [f"{color}{scene.places.get(color, 0)}" for color in scene.style.colors]


def _names_another(row: dict, scene: Row, thought: re.Match[str]) -> bool:
    return thought["asked"] in scene.places.keys() - {scene.asked.color}


def _follows(row: dict, scene: Row, thought: re.Match[str]) -> bool:
    """Whether the box is that of the sign which the thought names, rather than of any other."""
    box = row["box"]
    if box is None:
        return False
    shares = {sign.color: box_iou(tuple(box), sign.box) for sign in scene.signs}
    return shares[thought["asked"]] > max(share for color, share in shares.items() if color != thought["asked"])


def _scenes(settings: dict, keys: Iterable[str]) -> dict[str, Row]:
    """The scenes of an evaluation's questions, by their ids; settings: those that it states."""
    data = settings["data"]
    if not data["_target_"].endswith("beside_datamodule"):
        raise UserError(f"{data['_target_']}: no question names a sign by its neighbor; evaluate with data=beside")
    style = SceneStyle(**{field.name: data[field.name] for field in fields(SceneStyle)})
    parts = {key: key.split("/")[1:] for key in keys}  # signs/test/15/0
    return {key: Row(split, int(seed), int(index), style) for key, (split, seed, index) in parts.items()}


def _mean(values: list) -> float | None:
    return fmean(values) if values else None
