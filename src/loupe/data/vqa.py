"""Questions of one's own: a table, in a folder with pictures or on the hub, as a data set (docs/own_data.md)."""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import snapshot_download

from loupe import hub
from loupe.data import tables
from loupe.data.datamodule import LoupeDataModule
from loupe.data.files import find_tables
from loupe.data.mixing import mixed
from loupe.data.reading import Reading, one_table
from loupe.data.splits import divide, require_shares, same_files, some
from loupe.data.tables import Rows
from loupe.errors import BadExample, UserError
from loupe.geometry import Box
from loupe.paths import of_setting
from loupe.pictures import open_picture
from loupe.records import Example
from loupe.rewards.terms import SCORES

LOG = logging.getLogger(__name__)
HELDOUT = ("val", "test")


def vqa_datamodule(
    path: str | None,
    images: str | None,
    columns: Mapping[str, str | list[str] | None] | None,
    metric: str | None,
    box_format: str,
    box_unit: str,
    split: Mapping[str, float] | None,
    seed: int,
    heldout_seed: int,
    n_train: int | None,
    n_val: int | None,
    n_test: int | None,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    **settings: Any,
) -> LoupeDataModule:
    """The splits that the tables name; those that they lack are held out of the training split, by picture.

    path: a table, a folder that holds one or several, or an id on the hub. images: the folder that the pictures' paths
    start in, if it is not the table's. columns: the name of each kind of column in ``columns.USUAL``, None for the
    usual ones. metric: one of ``reading.METRICS``; None: "choice" for a question with options, "iou" for one whose
    answer is a box, else "vqa". box_format: "xyxy" or "xywh". box_unit: "pixels" or "relative" (0 to 1). split: the
    shares of questions to hold out for "val" and "test". heldout_seed: chooses these pictures, and the ``n_train``,
    ``n_val`` and ``n_test`` questions (None: all). mined, mix, hard_fraction: see ``mixing.mixed``. settings: see
    :class:`LoupeDataModule`.
    """
    shares = require_shares(split)
    if not isinstance(columns, Mapping | None):
        raise UserError(f"data.columns={columns}: must be names of columns by kind, such as {{image: photo}}")
    named = {kind: column for kind, column in (columns or {}).items() if column is not None}
    folder = of_setting(images).absolute() if images else None
    reading = Reading(named, metric, box_format, box_unit, folder)
    root = _located(path).absolute()
    table = one_table(find_tables(root), reading)
    rows = _usable(table, str(path))
    parts = _splits(table, rows, folder or root, shares, heldout_seed)
    limits = {"train": n_train, "val": n_val, "test": n_test}
    chosen = {name: some(parts[name], n, f"data.n_{name}", heldout_seed) for name, n in limits.items() if parts[name]}
    LOG.info("data.path=%s: %s", path, ", ".join(f"{len(rows)} questions of {name}" for name, rows in chosen.items()))
    read = partial(example, metric=metric, unit=box_unit)
    made: dict[str, Any] = {name: Rows(table, read, rows) for name, rows in chosen.items()}
    if "train" in made:
        ids = table.select(chosen["train"])["id"][:]
        made["train"] = mixed(made["train"], ids, mined, mix, hard_fraction, seed)
    return LoupeDataModule(made.get("train"), made.get("val"), made.get("test"), seed=seed, **settings)


def example(row: dict, metric: str | None, unit: str) -> Example:
    """One row of the table of ``reading.one_table`` as an example."""
    image = row["image"]["bytes"] or Path(row["image"]["path"])
    boxes = row["boxes"] or []
    if unit == "relative" and boxes:
        boxes = _in_pixels(boxes, image)
    return Example(
        id=row["id"],
        image=image,
        question=row["question"],
        references=tuple(row["references"] or ()),
        target_boxes=tuple(map(_as_box, boxes)),
        options=tuple(row["options"] or ()),
        subset=row["subset"],
        answer_box=_as_box(boxes[0]) if row["is_box"] and boxes else None,
        metric=metric if metric in SCORES else "vqa",
    )


def _located(path: str | None) -> Path:
    """The file or folder of ``data.path``; that of a data set on the hub is downloaded first."""
    if not str(path or "").strip():
        raise UserError("data.path is empty; give data.path=<table, or folder with one>, or data.path=<owner/name>")
    local = of_setting(path)
    if local.exists():
        return local
    if not hub.is_id(path):
        raise UserError(f"data.path={path}: no such file or folder; give a table, or a folder with one")
    fix = f"{path} is no file or folder here either; give data.path=<table, or folder with one>, or another id"
    return Path(tables.from_hub(path, (), partial(snapshot_download, repo_type="dataset"), fix))


def _usable(table: datasets.Dataset, path: str) -> list[int]:
    """The numbers of the rows that can be used; the others are named in the log, by their row in their file."""
    skipped: dict[tuple[str, str], list[int]] = defaultdict(list)
    good: list[int] = []
    missing: dict[str, str] = {}  # one reason for all rows of a file, with the first picture as the example
    cells = table.select_columns(["file", "row", "problem"])
    files = table.flatten().select_columns(["image.path"])["image.path"]
    for number, (row, file) in enumerate(zip(cells, files, strict=True)):
        problem = row["problem"]
        if not problem and file and not os.path.isfile(file):
            problem = missing.setdefault(
                row["file"], f"whose picture is not there (such as {file[-200:]}; data.images)"
            )
        if problem:
            skipped[row["file"], problem].append(row["row"] - 1)
        else:
            good.append(number)
    for (file, problem), indices in skipped.items():
        tables.report_skipped(file, problem, indices)
    if not good:
        raise UserError(f"data.path={path}: none of its {len(table)} rows is usable; see the skipped rows above")
    return good


def _splits(
    table: datasets.Dataset, rows: list[int], root: Path, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """The rows of train, val and test."""
    names, pictures = table["split"][:], _pictures(table, rows, root)
    parts: dict[str, list[int]] = {name: [] for name in ("train", *HELDOUT)}
    for row in rows:
        parts[names[row] or "train"].append(row)
    train = {pictures[row] for row in parts["train"]}
    for name in HELDOUT:
        if known := sum(pictures[row] in train for row in parts[name]):
            LOG.warning("%d questions of %s are about pictures of train, so their scores may mislead", known, name)
    lacking = {name: share for name, share in shares.items() if not parts[name]}
    if not lacking or not parts["train"]:
        return parts
    total = len(parts["train"])
    wanted = {name: max(1, round(share * total)) for name, share in lacking.items()}
    parts |= divide(parts["train"], pictures, wanted, seed)
    if not all(parts[name] for name in lacking) or (sum(lacking.values()) < 1 and not parts["train"]):
        raise UserError(f"data.split: too few pictures to hold some out ({len(train)}); use more, or data.split=null")
    held = ", ".join(f"{len(parts[name])} for {name}" for name in lacking)
    LOG.info("held out of %d questions, by picture: %s (data.split, data.heldout_seed)", total, held)
    return parts


def _pictures(table: datasets.Dataset, rows: list[int], root: Path) -> dict[int, str]:
    """A name for the picture of each row, the same for the same content.

    For files it is the path below ``root``, so that it does not depend on where the data lie.
    """
    digests, paths = table["digest"][:], table.flatten()["image.path"][:]
    folder = root if root.is_dir() else root.parent
    in_files = [row for row in rows if paths[row]]
    first = same_files([Path(paths[row]) for row in in_files])
    names = {row: os.path.relpath(file, folder) for row, file in zip(in_files, first, strict=True)}
    return {row: names.get(row) or digests[row] for row in rows}


def _in_pixels(boxes: list[Box], image: Path | bytes) -> list[Box]:
    """Relative boxes in pixels of the picture as it is shown, that is upright."""
    try:
        width, height = open_picture(image).size
    except BadExample:  # raised again, and the row skipped, where the picture is needed
        return []
    return [(x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in boxes]


def _as_box(box: list[float]) -> Box:
    x1, y1, x2, y2 = box
    return x1, y1, x2, y2
