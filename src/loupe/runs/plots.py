"""Plots of one run: advantages and scores over its steps (see ``logs.history``), and what the policy sees."""

import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from loupe.geometry import View
from loupe.pictures import draw_calls, open_picture, side_by_side
from loupe.records import Example, Group, TrajectoryType
from loupe.runs.palette import STYLES, SUBSET_COLORS, parts
from loupe.tools.zoom import ZoomTool

if TYPE_CHECKING:  # plots of recorded results need no transformers
    from loupe.engine.dialogue import Dialogue
    from loupe.engine.environment import Environment

ZOOMS = "Share of answers with a zoom"
MEMORY = 0.9  # share of its past that a smoothed line keeps at each point
HEIGHT, WIDEST = 480, 3840  # of the panels of an exchange, in pixels
LINE = 0.055  # of text beside an exchange, as a share of its height
VERDICTS = {1: ("right", "#009E73"), 0: ("wrong", "#D55E00")}


def advantage_figure(history: list[dict], out: Path) -> None:
    """Draw mean advantage and share by trajectory type over training steps into ``out`` (PNG, 150 dpi).

    This is the figure of arXiv 2506.14821: for all questions, with a 25-75% band, and beside it for each subset. A type
    gets no point at a step without trajectories of it.
    """
    rows = [row for row in history if f"advantage/all/{TrajectoryType.NO_TOOL}/share" in row]
    *subsets, everything = parts(key.split("/")[1] for row in rows for key in row if key.startswith("advantage/"))
    total = sum(row[f"advantage/all/{kind}/count"] for row in rows for kind in STYLES)
    figure = Figure(figsize=(7 + 4.5 * len(subsets), 7), layout="constrained")
    panels = advantage_panels(figure, ["all questions", *(f"{part} only" for part in subsets)])
    for part, (upper, lower) in zip([everything, *subsets], panels, strict=True):
        for kind, (_, color) in STYLES.items():
            prefix = f"advantage/{part}/{kind}"
            steps, low = _series(rows, f"{prefix}/q25")
            _, high = _series(rows, f"{prefix}/q75")
            upper.fill_between(steps, smooth(low), smooth(high), color=color, alpha=0.12, linewidth=0)
            for axes, statistic in ((upper, "mean"), (lower, "share")):
                steps, values = _series(rows, f"{prefix}/{statistic}")
                axes.plot(steps, values, ".", color=color, alpha=0.25, markersize=4)
                marker = "o" if len(steps) == 1 else None  # a line of a single point would be invisible
                axes.plot(steps, smooth(values), color=color, linewidth=2, marker=marker)
    panels[0][0].set(ylabel="advantage, smoothed mean (band: 25-75%)")
    panels[0][1].set(ylabel=f"share of {total:,} trajectories")
    figure.savefig(out, dpi=150)


def advantage_panels(figure: Figure, titles: list[str]) -> list[tuple[Axes, Axes]]:
    """For each title, a panel for advantages and one for shares below it, over training steps; and a legend."""
    rows = figure.subplots(2, len(titles), sharex=True, sharey="row", height_ratios=[3, 2], squeeze=False)
    for upper, lower, title in zip(*rows, titles, strict=True):
        upper.axhline(0, color="black", linewidth=0.8, zorder=1)
        unframed(upper, title=title)
        percent(lower)
        over_steps(lower)
    lines = [Line2D([], [], color=color, linewidth=2, label=label) for label, color in STYLES.values()]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(STYLES), frameon=False)
    return list(zip(*rows, strict=True))


def learning_figure(history: list[dict], out: Path) -> None:
    """Draw score and zoom rate on the validation questions over training steps, for all of them and each subset."""
    rows = [row for row in history if "val/score/all" in row]
    there = parts(key.split("/")[2] for row in rows for key in row if key.startswith("val/score/"))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = [("score", "Score on validation pictures, greedy", "score"), ("zoom_rate", ZOOMS, "share of answers")]
    for axes, (key, title, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for part, color in zip(reversed(there), cycle(SUBSET_COLORS)):
            steps, values = _series(rows, f"val/{key}/{part}")
            axes.plot(steps, values, color=color, linewidth=2, marker="o", markersize=4, label=part)
        percent(axes, title=title, ylabel=label)
        over_steps(axes)
    figure.axes[0].legend(frameon=False)
    figure.savefig(out, dpi=150)


def smooth(values: Sequence[float]) -> np.ndarray:
    """Exponential moving average without the bias toward a starting value: weights sum to 1 at every point."""
    return pandas.Series(values, dtype=float).ewm(alpha=1 - MEMORY).mean().to_numpy()


def percent(axes: Axes, **labels) -> None:
    """An unframed panel of values from 0 to 100%. labels: properties of the axes, such as the title."""
    unframed(axes, **labels)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def unframed(axes: Axes, **labels) -> None:
    """A panel with a light grid and no frame."""
    axes.set(**labels)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def over_steps(axes: Axes) -> None:
    """Training steps on the x axis, with no tick between two of them."""
    axes.set(xlabel="training step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _series(rows: list[dict], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have ``key``."""
    present = [row for row in rows if key in row]
    return [row["step"] for row in present], [row[key] for row in present]


def exchange_picture(group: Group, environment: "Environment") -> Image.Image:
    """The picture with keypoint and box of each executed call; beside it, the pictures that the calls showed.

    group: with its complete prompt; the first trajectory is drawn.
    """
    trajectory, picture = group.trajectories[0], open_picture(group.example.image)
    drawn = draw_calls(picture, trajectory.events, width=picture.width)
    return side_by_side([_panel(shown) for shown in (drawn, *environment.shown(trajectory, group.prompt))])


def exchanges_figure(told: list[tuple[Group, dict]], environment: "Environment", out: Path) -> None:
    """One row per exchange: its picture and crops as in :func:`exchange_picture`; beside them, what was said.

    told: groups with their complete prompts, each with the answer row of its first trajectory (``metrics.rows``).
    """
    figure = Figure(figsize=(12, 3.2 * len(told)), layout="constrained")
    grid = figure.subplots(len(told), 2, squeeze=False, width_ratios=[7, 5])
    pictures = [exchange_picture(group, environment) for group, _ in told]
    widest = max(picture.width for picture in pictures)
    for (drawn, said), picture, (group, row) in zip(grid, pictures, told, strict=True):
        drawn.imshow(picture)
        drawn.set(xlim=(0, widest), anchor="NW")  # all at one scale
        _tell(said, group, row)
        for axes in (drawn, said):
            axes.set_axis_off()
    figure.savefig(out, dpi=100)


def _tell(axes: Axes, group: Group, row: dict) -> None:
    """The question, the dialogue, the reference answers and the verdict, from top to bottom."""
    verdict, color = VERDICTS.get(row["score"], (f"score {row['score']:.2f}", "black"))
    blocks: list[tuple[str, int, dict]] = [
        (f"{row['question']}{_subset(group.example)}", 3, {"weight": "bold"}),
        (group.trajectories[0].text, 12, {"family": "monospace", "color": "#4D4D4D"}),
        (f"reference: {expected(group.example)}", 3, {}),
        (f"{verdict}, reward {row['reward']:.2f}", 1, {"weight": "bold", "color": color}),
    ]
    top = 1.0
    for text, most, style in blocks:
        lines = [line for written in text.splitlines() for line in textwrap.wrap(written, 54)]
        lines = [*lines[: most - 1], "..."] if len(lines) > most else lines
        style |= {"va": "top", "fontsize": 9, "parse_math": False, "transform": axes.transAxes}
        axes.text(0, top, "\n".join(lines), style)
        top -= LINE * (len(lines) + 0.6)


def _panel(picture: Image.Image) -> Image.Image:
    """``picture`` at the height of a panel; one that would become very wide is reduced further, on a white panel."""
    scale = min(HEIGHT / picture.height, WIDEST / picture.width)
    reduced = picture.resize([max(1, round(side * scale)) for side in picture.size])
    if reduced.height == HEIGHT:
        return reduced
    panel = Image.new("RGB", (reduced.width, HEIGHT), "white")
    panel.paste(reduced, (0, (HEIGHT - reduced.height) // 2))
    return panel


def example_figure(examples: list[Example], dialogue: "Dialogue", out: Path) -> None:
    """One row per example: the original, the overview, and the result of a zoom, whose box is drawn on the original.

    The last two are exactly the pixels that the policy sees. Without the zoom tool there are only the first two.
    """
    columns = [_example_panels(example, dialogue) for example in examples]
    figure = Figure(figsize=(4 * len(columns[0]), 3.2 * len(examples)), layout="constrained")
    grid = figure.subplots(len(examples), len(columns[0]), squeeze=False)
    for row, panels in zip(grid, columns, strict=True):
        for axes, (title, image) in zip(row, panels, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_title(title, fontsize=9, parse_math=False)
            axes.set_axis_off()
    figure.savefig(out, dpi=100)


def _example_panels(example: Example, dialogue: "Dialogue") -> list[tuple[str, Image.Image]]:
    """Titles and pictures of an example's row: a call aims at its first target box, or else at the middle."""
    picture = open_picture(example.image)
    shown = dialogue.overview(picture)
    title = "\n".join(map(_wrapped, f"{example.question}{_subset(example)}\n-> {expected(example)}".splitlines()))
    overview = (f"the overview: {shown.width}x{shown.height}", shown)
    zooms = [tool for tool in dialogue.tools.tools.values() if isinstance(tool, ZoomTool)]
    if not zooms:
        return [(title, picture), overview]
    width, height = picture.size
    target = example.target_boxes[0] if example.target_boxes else (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
    result = zooms[0].aimed_at(target, View.of_question(picture, shown.size, dialogue.tools.coordinates))
    crop = dialogue.close_up(result, max(shown.size))
    aimed = "the zoom result" if example.target_boxes else "a zoom at the middle"
    close_up = (f"{aimed}: {crop.width}x{crop.height}", crop)
    return [(title, draw_calls(picture, [result])), overview, close_up]


def expected(example: Example) -> str:
    """The answers that earn a score, each of them once."""
    if example.answer_box:
        return str([round(side) for side in example.answer_box])
    return " | ".join(dict.fromkeys(example.references))


def _subset(example: Example) -> str:
    return f"  ({example.subset})" if example.subset else ""


def _wrapped(line: str) -> str:
    """A line of a title, cut to a few lines as wide as its panel."""
    return textwrap.fill(line, 60, max_lines=4)
