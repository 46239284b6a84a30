"""Studies of boxes (experiments/vlm_r1, generalization): policies by how, or about which pictures, they are asked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.runs.plots import unframed
from loupe.runs.sweeps import SETTING
from loupe.studies.dots import dots
from loupe.studies.tables import ZERO, Methods, by_method, named_by, ordered, policies, rank

BASE = "base"


@dataclass(frozen=True)
class BoxStudy:
    """The methods and the kinds of evaluations that a study compares; an evaluation of no kind is the ``usual`` one.

    methods, kinds: as ``tables.named_by`` reads them. colors: of the base and the methods.
    """

    methods: Methods
    colors: Sequence[str]
    usual: str
    kinds: Methods

    def judged(self, table: pandas.DataFrame, asked: str = "greedy") -> pandas.DataFrame:
        """One row per policy and kind of evaluation: ``method``, ``seed``, ``kind``, ``iou`` and ``score`` (accuracy at
        0.5).

        table: of a sweep that holds the trainings, and the evaluations of their models; models of other runs count as
        the base. asked: a condition of the evaluations. Raises UserError if there is no evaluation of boxes under it.
        """
        columns = {f"{asked}/{metric}/all": metric for metric in ("iou", "score")}
        if missing := [column for column in (f"{SETTING}model.path", *columns) if column not in table]:
            raise UserError(f"no column {missing[0]}: this table has no evaluation of boxes")
        rows = table.dropna(subset=list(columns)).rename(columns=columns)
        made = policies(rows, table, BASE, self.methods)
        kinds = named_by(rows, self.usual, self.kinds)
        found = rows[list(columns.values())].assign(method=made.method, seed=made.seed, kind=kinds)
        return by_method(found, [BASE, *self.methods]).reset_index(drop=True)

    def means(self, found: pandas.DataFrame, metric: str = "iou") -> pandas.DataFrame:
        """The mean over the runs of each method, a column for each kind; ``runs``: how many, in the kind with most."""
        table = found.pivot_table(metric, "method", "kind", sort=False)
        runs = found.groupby("method").seed.nunique()
        return table[[kind for kind in (self.usual, *self.kinds) if kind in table]].assign(runs=runs.clip(lower=1))

    def figure(self, found: pandas.DataFrame, title: str = "mean IoU, greedy, held-out pictures") -> Figure:
        """Every run as a dot, by kind and method."""
        colors = dict(zip([BASE, *self.methods], self.colors, strict=True))
        made = Figure(figsize=(11, 4.2), layout="constrained")
        axes = made.subplots()
        dots(axes, ordered(found, rank(found.kind, [self.usual, *self.kinds])), "kind", "iou", "method", colors)
        unframed(axes, title=title)
        axes.legend(frameon=False, ncols=4, fontsize="small")
        return made


GENERALIZATION = BoxStudy(
    methods={
        "GRPO": {"experiment": "^generalization$"},
        "GRPO, KL": {"algorithm.loss.beta": "."},
        "GRPO, adapter": {"model.lora": "."},
        "GRPO, adapter, higher rate": {"model.lora": ".", "algorithm.optimizer.lr": "."},
        "GRPO, frozen tower": {"model.train_vision": "."},
        "supervised": {"experiment": "^generalization_sft$"},
        "supervised, five passes": {"epochs": "."},
    },
    colors=("#888888", "#0072B2", "#56B4E9", "#44AA99", "#117733", "#CC79A7", "#E69F00", "#D55E00"),
    usual="as in training",
    kinds={
        "larger canvas": {"data.canvas": "."},
        "more signs": {"data.n_signs": "."},
        "shown larger": {"resolution": "."},
    },
)
"""Asked about other kinds of pictures than those of the training."""

VLM_R1 = BoxStudy(
    methods={
        "GRPO": {"experiment": "vlm_r1"},
        "learning rate 0": {"algorithm.optimizer.lr": ZERO},
        "shuffled advantages": {"algorithm.shuffle_advantages": "(?i)true"},
    },
    colors=("#888888", "#0072B2", "#E69F00", "#D55E00"),
    usual="without the tool",
    kinds={"with the tool": {"tool": "^zoom$"}, "without thinking": {"experiment": "no_thinking"}},
)
"""Asked as they were trained."""
