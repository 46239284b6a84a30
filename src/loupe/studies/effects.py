"""What the tool does to the score over a training, from evaluations of the model at several steps."""

from collections.abc import Mapping

import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from loupe.errors import UserError
from loupe.metrics.effect import TERMS
from loupe.runs.palette import parts
from loupe.runs.plots import over_steps, unframed
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import part_keys

COLORS = {"call_gain": "#0072B2", "schema_gain": "#56B4E9", "call_harm": "#D55E00", "schema_harm": "#E69F00"}
HARMS = [term for term, (right, _) in TERMS.items() if right]
EFFECT = "tool_effect"


def snapshots(table: pandas.DataFrame) -> pandas.DataFrame:
    """The evaluations of snapshots (``loupe.runs.snapshots``), with ``run`` and ``step`` from their ``model.path``.

    Raises UserError if a snapshot was evaluated twice.
    """
    paths = table.get(f"{SETTING}model.path", pandas.Series("", table.index)).astype(str)
    judged = table.join(paths.str.extract(r"(?P<run>.+)/snapshots/step_(?P<step>\d+)/?$")).dropna(subset="step")
    if (twice := judged.duplicated(["run", "step"])).any():
        run, step = judged[twice].iloc[0][["run", "step"]]
        raise UserError(f"{run}/snapshots/step_{step}: was evaluated under several settings; choose the rows of one")
    return judged.astype({"step": int}).sort_values(["run", "step"], ignore_index=True)


def by_step(table: pandas.DataFrame, columns: Mapping[str, str]) -> pandas.DataFrame:
    """Means over the runs at each step, of columns of the table under names of their own.

    A run without a value there, such as the quality of calls where there are none, does not count.
    """
    judged = snapshots(table)
    if missing := [column for column in columns.values() if column not in judged]:
        raise UserError(f"no column {missing[0]}: not all conditions of this study were asked")
    return judged.groupby("step")[list(columns.values())].mean().set_axis(list(columns), axis=1)


def effects(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per snapshot of a run and part of the questions: ``run``, ``step``, ``part``, ``tool_effect``, the terms.

    table: of a sweep; rows that are no evaluations of snapshots are left out. Raises UserError if there is none with
    and without the tool, and as :func:`snapshots` does.
    """
    judged = snapshots(table)
    tidied = [
        judged[["run", "step"]].assign(part=part, **{name: judged[f"{name}/{part}"] for name in (EFFECT, *TERMS)})
        for part in part_keys(table, EFFECT)
    ]
    tidy = pandas.concat(tidied).dropna() if tidied else pandas.DataFrame()
    if tidy.empty:
        raise UserError("this table has no evaluation of a snapshot (snapshots/step_<n>) under greedy and no_tool")
    return tidy.sort_values(["part", "run", "step"], ignore_index=True)


def effects_figure(table: pandas.DataFrame) -> Figure:
    """The four terms over training, a panel for each part: means over the runs, gains stacked upward, harms downward.

    Lines are their sum, the tool effect: thin for each run, thick for the mean.
    """
    tidy = effects(table)
    there = parts(tidy.part)
    figure = Figure(figsize=(3.8 * len(there), 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(there), sharey=True, squeeze=False)[0], there, strict=True):
        chosen = tidy[tidy.part == part]
        mean = chosen.groupby("step")[[EFFECT, *TERMS]].mean()
        for names, sign in (([name for name in TERMS if name not in HARMS], 1), (HARMS, -1)):
            areas = [sign * mean[name] for name in names]
            colors, labels = [COLORS[name] for name in names], [name.replace("_", " ") for name in names]
            axes.stackplot(mean.index, areas, colors=colors, labels=labels, alpha=0.8)
        for _, run in chosen.groupby("run"):
            axes.plot(run.step, run[EFFECT], color="black", linewidth=0.7, alpha=0.5)
        axes.plot(mean.index, mean[EFFECT], color="black", linewidth=2.2, marker="o", markersize=4, label="tool effect")
        unframed(axes, title=part)
        over_steps(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.axes[0].set_ylabel("score with the tool minus without")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure
