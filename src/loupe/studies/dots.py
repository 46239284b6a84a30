"""Every run of a study as a dot, by condition: where some runs collapse, a mean describes none of them."""

from collections.abc import Mapping
from itertools import cycle
from textwrap import fill

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loupe.runs.plots import SUBSET_COLORS, ZOOMS, parts, percent
from loupe.runs.sweeps import SETTING
from loupe.studies.plots import SCORE
from loupe.studies.tables import by_part

LABEL_WIDTH, FIGURE_WIDTH = 10, 120
"""Characters after which the name of a condition goes on in the next line, and those across a figure."""
MANY = 9
"""Conditions, of which more have two panels below each other, not side by side."""


def panels(places: int) -> tuple[Figure, list[Axes]]:
    """A figure with two panels, for so many conditions."""
    rows, columns = (2, 1) if places > MANY else (1, 2)
    figure = Figure(figsize=(11, 3.8 * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns))


def dots(axes: Axes, found: pandas.DataFrame, x: str, y: str, by: str, colors: Mapping[str, str]) -> None:
    """Draw column ``y`` of every row: above the value of ``x``, side by side for the values of ``by``.

    The values of ``x`` are in the order of the table, those of ``by`` in the order of ``colors``.
    """
    places = list(dict.fromkeys(found[x]))
    names = [name for name in colors if name in set(found[by])]
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        label = name
        for place, value in enumerate(places):
            if (values := found[(found[x] == value) & (found[by] == name)][y]).empty:
                continue
            center = place + width * (number + 0.5) - 0.4
            spread = width * np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.zeros(len(values))
            axes.plot(center + spread, values, "o", color=colors[name], markersize=4.5, alpha=0.8, label=label)
            label = "_"  # named once
    grid = axes.get_gridspec()
    room = min(LABEL_WIDTH, FIGURE_WIDTH // (grid.ncols if grid else 1) // len(places))
    labels = [fill(str(name).replace("_", " "), room, break_long_words=False) for name in places]
    axes.set_xticks(range(len(places)), labels)


def conditions_figure(table: pandas.DataFrame, condition: str) -> Figure:
    """Score and zoom rate of every run after training, on each subset of the questions, by its ``condition``.

    condition: the setting of ``table`` (``tables.results``) that names it; conditions are drawn in the table's order.
    """
    tidied = by_part(table, "after")
    *subsets, everything = parts(tidied.part)
    found = tidied[tidied.part.isin(subsets or [everything])]
    colors = dict(zip([everything, *reversed(subsets)], cycle(SUBSET_COLORS)))
    colors = {name: colors[name] for name in subsets or [everything]}
    figure, both = panels(found[condition.removeprefix(SETTING)].nunique())
    for axes, (column, title) in zip(both, {"score": SCORE, "zoom_rate": ZOOMS}.items(), strict=True):
        dots(axes, found, condition.removeprefix(SETTING), column, "part", colors)
        percent(axes, title=title)
    figure.axes[0].legend(frameon=False)
    return figure
