"""The study of boxes on other kinds of pictures than those of the training (experiments/generalization)."""

from collections.abc import Mapping
from pathlib import PurePath

import pandas
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.runs.plots import unframed
from loupe.runs.sweeps import SETTING
from loupe.studies.dots import dots

TRAINED = "as in training"
KINDS = {
    "larger canvas": ("data.canvas", None),
    "more signs": ("data.n_signs", None),
    "shown larger": ("resolution", None),
}
"""Other kinds of pictures: the setting that makes each, and its value (None: any)."""
BASE = "base"
METHODS = {
    "GRPO": ("experiment", "generalization", "#0072B2"),
    "GRPO, KL": ("algorithm.loss.beta", None, "#56B4E9"),
    "GRPO, adapter": ("model.lora", None, "#009E73"),
    "GRPO, frozen tower": ("model.train_vision", None, "#CC79A7"),
    "supervised": ("experiment", "generalization_sft", "#E69F00"),
    "supervised, five passes": ("epochs", None, "#D55E00"),
}
"""Methods: the setting that makes each, its value (None: any), and a color. Later ones take precedence."""


def judged(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per policy and kind of pictures: ``method``, ``seed``, ``kind``, ``iou`` and ``score`` (accuracy at 0.5).

    table: of a sweep that holds the trainings, and the evaluations of their models; models of other runs count as the
    base. Raises UserError if it holds no evaluation of boxes.
    """
    columns = {f"greedy/{metric}/all": metric for metric in ("iou", "score")}
    if missing := [column for column in (f"{SETTING}model.path", *columns) if column not in table]:
        raise UserError(f"no column {missing[0]}: this table has no evaluation of boxes")
    rows = table.dropna(subset=list(columns)).rename(columns=columns)
    trained = table[["job", f"{SETTING}seed"]].assign(method=_names(table, BASE, METHODS)).set_index("job")
    jobs = [PurePath(path).parent.name for path in rows[f"{SETTING}model.path"].fillna("").astype(str)]
    made = trained.reindex(jobs).set_axis(["seed", "method"], axis=1).fillna({"method": BASE})
    kind = _names(rows, TRAINED, KINDS)
    found = rows[list(columns.values())].assign(method=made.method.values, seed=made.seed.values, kind=kind)
    rank = found.method.map([BASE, *METHODS].index)
    return found.assign(rank=rank).sort_values(["rank", "seed"]).drop(columns="rank").reset_index(drop=True)


def _names(table: pandas.DataFrame, otherwise: str, made_by: Mapping[str, tuple]) -> pandas.Series:
    """The name of each row by the setting that makes it, as in ``KINDS`` and ``METHODS``."""
    names = pandas.Series(otherwise, table.index)
    for name, (setting, value, *_) in made_by.items():
        if (key := f"{SETTING}{setting}") in table:
            names[table[key].notna() if value is None else table[key] == value] = name
    return names


def means(found: pandas.DataFrame, metric: str = "iou") -> pandas.DataFrame:
    """The mean over the runs of each method, a column for each kind of pictures; ``runs``: how many there are."""
    table = found.pivot_table(metric, "method", "kind", sort=False)
    runs = found.groupby("method").seed.nunique()
    return table[[kind for kind in (TRAINED, *KINDS) if kind in table]].assign(runs=runs.clip(lower=1))


def figure(found: pandas.DataFrame, metric: str = "iou", label: str = "mean IoU") -> Figure:
    """Every run as a dot, by kind of pictures and method."""
    colors = {BASE: "#888888"} | {name: color for name, (*_, color) in METHODS.items()}
    order = {kind: number for number, kind in enumerate((TRAINED, *KINDS))}
    shown = found.sort_values("kind", key=lambda kinds: kinds.map(order), kind="stable")
    made = Figure(figsize=(11, 4.2), layout="constrained")
    axes = made.subplots()
    dots(axes, shown, "kind", metric, "method", colors)
    unframed(axes, title=f"{label}, held-out pictures, greedy")
    axes.legend(frameon=False, ncols=4, fontsize="small")
    return made
