"""Plots of recorded studies (``tables.results``), as the notebooks and READMEs show them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.runs.plots import STYLES, SUBSET_COLORS, ZOOMS, advantage_panels, parts, percent, smooth
from loupe.runs.sweeps import SETTING
from loupe.studies.tables import by_part, over_seeds

SCORE = "Score on held-out pictures, greedy"
LABELS = {"score": "score", "zoom_rate": "share of answers with a zoom"}
CONDITIONS = {
    "base, no tool": ("before", "none", "#BBBBBB"),
    "base, tool prompted": ("before", "zoom", "#E69F00"),
    "GRPO without tool": ("after", "none", "#56B4E9"),
    "GRPO with zoom": ("after", "zoom", "#0072B2"),
}
"""The rows of the main table: before or after training, the ``tool`` setting, a color."""
Line = tuple[pandas.DataFrame, str, str]  # a tidy table, and the color and style of its line


def conditions(table: pandas.DataFrame) -> pandas.DataFrame:
    """The main study as its four conditions, tidy. Before training all seeds are the same policy; one row stands.

    Raises UserError if the runs with one of the tools are missing.
    """
    rows = []
    for name, (when, tool, _) in CONDITIONS.items():
        runs = table[table[f"{SETTING}tool"] == tool]
        if runs.empty:
            raise UserError(f"{name}: this table has no run with tool={tool}")
        chosen = by_part(runs, when).assign(condition=name)
        rows.append(chosen.drop_duplicates("part") if when == "before" else chosen)
    return pandas.concat(rows, ignore_index=True)


def main_figure(table: pandas.DataFrame) -> Figure:
    """Score and zoom rate of the four conditions by part: means over the runs, each of which is a dot.

    Whiskers are the 95% interval of one run.
    """
    tidied = conditions(table)
    means = over_seeds(tidied, ["condition", "part"]).set_index(["condition", "part"])
    there = parts(tidied.part)
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    scores, rates = figure.subplots(1, 2, width_ratios=[3, 2])
    for i, (name, (_, _, color)) in enumerate(CONDITIONS.items()):
        mean = means.loc[[(name, part) for part in there]]
        centers = [number + 0.2 * (i - 1.5) for number in range(len(there))]
        whiskers = (mean.score - mean.low, mean.high - mean.score)
        scores.bar(centers, mean.score, width=0.18, color=color, label=name, yerr=whiskers, capsize=2)
        rates.bar(centers, mean.zoom_rate, width=0.18, color=color)
        for part, center in zip(there, centers, strict=True):
            runs = tidied[(tidied.condition == name) & (tidied.part == part)]
            places = np.linspace(center - 0.05, center + 0.05, len(runs))
            for axes, y in ((scores, "score"), (rates, "zoom_rate")) if len(runs) > 1 else ():
                axes.plot(places, runs[y], "o", color="white", markeredgecolor="black", markersize=3.5)
    for axes, title, label in ((scores, SCORE, "score"), (rates, ZOOMS, "share of answers")):
        percent(axes, title=title, ylabel=label, xlabel="questions", xticks=range(len(there)), xticklabels=there)
    figure.legend(loc="outside lower center", ncols=len(CONDITIONS), frameon=False)
    return figure


def curves(axes: Axes, tidied: pandas.DataFrame, x: str, y: str, label: str, color: str, style: str = "-") -> None:
    """Draw ``y`` against ``x``, a line for each seed and model. Runs may end far apart, where a mean would mislead."""
    same = [column for column in ("seed", "model.path") if column in tidied]
    for _, run in tidied.sort_values(x).groupby(same, dropna=False):
        axes.plot(run[x], run[y], style, color=color, linewidth=1.3, marker=".", markersize=6, alpha=0.75, label=label)
        label = "_"  # named once


def score_and_rate(tidied: pandas.DataFrame, x: str, label: str, ticks: Sequence[float] = ()) -> Figure:
    """Score and zoom rate of each part against one setting, a line for each seed. label: of the x axis."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axes, (y, title) in zip(figure.subplots(1, 2), {"score": SCORE, "zoom_rate": ZOOMS}.items(), strict=True):
        for part, color in zip(reversed(parts(tidied.part)), SUBSET_COLORS, strict=False):
            curves(axes, tidied[tidied.part == part], x, y, part, color)
        percent(axes, title=title, xlabel=label, ylabel=LABELS[y])
        if len(ticks):
            axes.set_xticks(ticks)
    figure.axes[0].legend(frameon=False)
    return figure


def panels_by_part(lines: Mapping[str, Line], x: str, y: str, label: str) -> Figure:
    """One panel per part, with named lines for each of ``lines``, one for each seed and model."""
    there = parts(pandas.concat(tidied.part for tidied, _, _ in lines.values()))
    figure = Figure(figsize=(4 * len(there), 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(there), sharey=True, squeeze=False)[0], there, strict=True):
        for name, (tidied, color, style) in lines.items():
            curves(axes, tidied[tidied.part == part], x, y, name, color, style)
        percent(axes, title=part, xlabel=label)
    figure.axes[0].set_ylabel(LABELS[y])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(lines), frameon=False)
    return figure


def learning_figure(table: pandas.DataFrame, controls: Mapping[str, tuple[pandas.Series, str, str]]) -> Figure:
    """Hits, score and zooms at each validation, a line for each run: small signs solid, large ones dashed.

    table: of validations. controls: by name, which rows are of a control, with its color and style.
    """
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    trained = ~pandas.concat([rows for rows, _, _ in controls.values()], axis=1).any(axis=1)
    titles = {"zoom_hit_rate": "Calls that hit the sign", "score": "Score", "zoom_rate": "Answers with a zoom"}
    for axes, (metric, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        kinds = {"small signs": (trained, "small", SUBSET_COLORS[2], "-")}
        if metric != "zoom_hit_rate":
            kinds["large signs"] = (trained, "large", SUBSET_COLORS[1], "--")
        kinds |= {name: (rows, "small", color, style) for name, (rows, color, style) in controls.items()}
        for label, (rows, part, color, style) in kinds.items():
            shown = table[rows].rename(columns={f"{SETTING}seed": "seed"})
            curves(axes, shown, "step", f"{metric}/{part}", label, color, style)
        percent(axes, title=title, xlabel="training step", ylabel="validation, greedy")
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def pointing_controls(table: pandas.DataFrame) -> dict[str, tuple[pandas.Series, str, str]]:
    """The controls of the study of where to zoom, for :func:`learning_figure`."""
    still = table[f"{SETTING}algorithm.optimizer.lr"] == 0
    shuffled = table[f"{SETTING}algorithm.shuffle_advantages"].fillna(False).astype(bool)
    return {"learning rate 0": (still, "#999999", ":"), "shuffled advantages": (shuffled, "#555555", "-.")}


def resolution_lines(table: pandas.DataFrame, trainings: pandas.DataFrame) -> dict[str, Line]:
    """The five policies of the resolution study, for :func:`panels_by_part`.

    trainings: the main study, whose jobs ``model.path`` names; any other model is the base.
    """
    job = table[f"{SETTING}model.path"].str.extract(r"(\w+)/model$", expand=False)
    trained = dict(zip(table.job, job.map(trainings.set_index("job")[f"{SETTING}tool"]).fillna("base"), strict=True))

    def line(asked: str, policy: str, color: str, style: str = "-") -> Line:
        tidied = by_part(table, asked)
        return tidied[tidied.job.map(trained) == policy], CONDITIONS[color][2], style

    return {
        "base, no tool": line("no_tool", "base", "base, no tool"),
        "base, tool prompted": line("greedy", "base", "base, tool prompted"),
        "GRPO without tool": line("no_tool", "none", "GRPO without tool"),
        "GRPO with zoom": line("greedy", "zoom", "GRPO with zoom"),
        "GRPO with zoom, tool removed": line("no_tool", "zoom", "GRPO with zoom", ":"),
    }


def advantages_figure(table: pandas.DataFrame) -> Figure:
    """Mean advantage by trajectory type over training (the plot of arXiv 2506.14821) for all questions and by part, and
    the share of each type. Lines are smoothed means over seeds, thin lines single seeds.
    """
    there = ["all", *parts(table.part)[:-1]]
    figure = Figure(figsize=(4.2 * len(there), 6.5), layout="constrained")
    panels = advantage_panels(figure, there)
    for part, (upper, lower) in zip(there, panels, strict=True):
        for kind, (_, color) in STYLES.items():
            chosen = table[(table.part == part) & (table.type == kind)]
            for axes, value in ((upper, "mean"), (lower, "share")):
                occurred = chosen.dropna(subset=value)
                for _, run in occurred.groupby("seed"):
                    axes.plot(run.step, smooth(run[value]), color=color, linewidth=0.7, alpha=0.4)
                mean = occurred.groupby("step")[value].mean()
                axes.plot(mean.index, smooth(mean), color=color, linewidth=2.2, label=kind.value)
    panels[0][0].set(ylabel="advantage, smoothed mean")
    panels[0][1].set(ylabel="share of trajectories, smoothed")
    return figure
