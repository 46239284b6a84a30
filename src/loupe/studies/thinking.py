"""The study of thinking (experiments/thinking): who names the sign before the answer, and what that is worth."""

import pandas
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.runs.plots import over_steps, unframed
from loupe.runs.sweeps import SETTING
from loupe.studies.dots import dots
from loupe.studies.tables import ZERO, by_method, named_by, policies

BASE = "base"
METHODS = {
    "GRPO": {"experiment": "^thinking$"},
    "GRPO, not allowed to think": {"experiment": "silent"},
    "shuffled advantages": {"algorithm.shuffle_advantages": "(?i)true"},
    "learning rate 0": {"algorithm.optimizer.lr": ZERO},
}
COLORS = dict(zip(METHODS, ("#0072B2", "#D55E00", "#E69F00", "#888888"), strict=True))
CONDITIONS = {"greedy": "#0072B2", "sampled": "#56B4E9", "silent": "#D55E00", "thoughtful": "#009E73"}
"""In which the policies are asked; silent: kept from thinking, thoughtful: made to think."""


def judged(thoughts: pandas.DataFrame, table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of thoughts.csv with the ``method`` and ``seed`` by which the policy was trained, in this order.

    table: of the sweep that holds the trainings; models of other runs count as the base. Raises UserError if no
    evaluation names its model.
    """
    if f"{SETTING}model.path" not in thoughts:
        raise UserError(f"no column {SETTING}model.path: this table has no evaluation of a trained policy")
    found = thoughts.assign(**policies(thoughts, table, BASE, METHODS))
    return by_method(found, [BASE, *METHODS])


def means(found: pandas.DataFrame, condition: str) -> pandas.DataFrame:
    """What the policies think in a ``condition`` and what it is worth: means over the runs of each method."""
    rows = found[found.condition == condition]
    columns = ["named", "right", "placed", "follows", "iou", "iou/named", "iou/silent"]
    return rows.groupby("method", sort=False)[columns].mean()


def figure(words: pandas.DataFrame, found: pandas.DataFrame) -> Figure:
    """The length of the thoughts in training, a line for each run; the IoU of every policy, in each condition."""
    made = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = made.subplots(1, 2)
    methods = named_by(words, BASE, METHODS)
    for method, color in COLORS.items():
        for number, (_, run) in enumerate(words[methods == method].groupby("job")):
            left.plot(run.step, run.words, color=color, alpha=0.7, label=f"{'_' if number else ''}{method}")
    over_steps(left)
    unframed(left, title="words per thought, training")
    left.legend(frameon=False, fontsize="small", loc=(0.5, 0.12))  # where no line passes
    dots(right, found, "method", "iou", "condition", CONDITIONS)
    unframed(right, title="mean IoU, held-out pictures")
    right.legend(frameon=False, fontsize="small")
    return made
