"""The study of boxes on other kinds of pictures than those of the training (experiments/generalization)."""

import pandas
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.runs.plots import unframed
from loupe.runs.sweeps import SETTING
from loupe.studies.dots import dots
from loupe.studies.tables import named_by, ordered, policies, rank

TRAINED = "as in training"
KINDS = {
    "larger canvas": {"data.canvas": "."},
    "more signs": {"data.n_signs": "."},
    "shown larger": {"resolution": "."},
}
"""Other kinds of pictures, as ``tables.named_by`` reads them."""
BASE = "base"
METHODS = {
    "GRPO": {"experiment": "^generalization$"},
    "GRPO, KL": {"algorithm.loss.beta": "."},
    "GRPO, adapter": {"model.lora": "."},
    "GRPO, adapter, higher rate": {"model.lora": ".", "algorithm.optimizer.lr": "."},
    "GRPO, frozen tower": {"model.train_vision": "."},
    "supervised": {"experiment": "^generalization_sft$"},
    "supervised, five passes": {"epochs": "."},
}
COLORS = ("#888888", "#0072B2", "#56B4E9", "#44AA99", "#117733", "#CC79A7", "#E69F00", "#D55E00")
"""Of the base and the methods."""


def judged(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per policy and kind of pictures: ``method``, ``seed``, ``kind``, ``iou`` and ``score`` (accuracy at 0.5).

    table: of a sweep that holds the trainings, and the evaluations of their models; models of other runs count as the
    base. Raises UserError if it holds no evaluation of boxes.
    """
    columns = {f"greedy/{metric}/all": metric for metric in ("iou", "score")}
    if missing := [column for column in (f"{SETTING}model.path", *columns) if column not in table]:
        raise UserError(f"no column {missing[0]}: this table has no evaluation of boxes")
    rows = table.dropna(subset=list(columns)).rename(columns=columns)
    made = policies(rows, table, BASE, METHODS)
    found = rows[list(columns.values())].assign(method=made.method, seed=made.seed, kind=named_by(rows, TRAINED, KINDS))
    by_seed = found.sort_values("seed", kind="stable")
    return ordered(by_seed, rank(by_seed.method, [BASE, *METHODS])).reset_index(drop=True)


def means(found: pandas.DataFrame, metric: str = "iou") -> pandas.DataFrame:
    """The mean over the runs of each method, a column for each kind of pictures; ``runs``: how many there are."""
    table = found.pivot_table(metric, "method", "kind", sort=False)
    runs = found.groupby("method").seed.nunique()
    return table[[kind for kind in (TRAINED, *KINDS) if kind in table]].assign(runs=runs.clip(lower=1))


def figure(found: pandas.DataFrame, metric: str = "iou", label: str = "mean IoU") -> Figure:
    """Every run as a dot, by kind of pictures and method."""
    colors = dict(zip([BASE, *METHODS], COLORS, strict=True))
    order = {kind: number for number, kind in enumerate((TRAINED, *KINDS))}
    shown = found.sort_values("kind", key=lambda kinds: kinds.map(order), kind="stable")
    made = Figure(figsize=(11, 4.2), layout="constrained")
    axes = made.subplots()
    dots(axes, shown, "kind", metric, "method", colors)
    unframed(axes, title=f"{label}, held-out pictures, greedy")
    axes.legend(frameon=False, ncols=4, fontsize="small")
    return made
