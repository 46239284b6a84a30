import pandas
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from loupe.errors import UserError
from loupe.studies import plots as study_plots
from loupe.studies.plots import (
    LABELS,
    advantages_figure,
    conditions,
    curves,
    learning_figure,
    main_figure,
    panels_by_part,
    parts,
    pointing_controls,
    score_and_rate,
)


def metrics(score, zoom_rate, when, part):
    key = f"{when}/score/{part}"
    interval = {key: score, f"{key}/low": score - 0.1, f"{key}/high": score + 0.1, f"{key}/n": 9}
    return interval | {f"{when}/zoom_rate/{part}": zoom_rate}


def run(tool, seed, after):
    row = {"job": f"{tool}{seed}", "setting/tool": tool, "setting/seed": seed, "command": ""}
    for part in ("all", "large", "small"):
        row |= metrics(0.25, float(tool == "zoom"), "before", part) | metrics(after, 0.5, "after", part)
    return row


TABLE = pandas.DataFrame([run("none", 0, 0.3), run("none", 1, 0.5), run("zoom", 0, 0.75), run("zoom", 1, 0.85)])


def bars(axes):
    return {c.get_label(): c for c in axes.containers if isinstance(c, BarContainer)}


def test_untrained_conditions_stand_once_and_trained_ones_for_each_seed():
    counts = conditions(TABLE).groupby("condition").size()
    assert counts.to_dict() == {
        "base, no tool": 3,
        "base, tool prompted": 3,
        "GRPO without tool": 6,
        "GRPO with zoom": 6,
    }


def test_a_study_that_is_not_whole():
    with pytest.raises(UserError, match="base, no tool: this table has no run with tool=none"):
        conditions(TABLE[TABLE["setting/tool"] == "zoom"])


def test_the_main_figure_shows_means_over_seeds_and_the_interval_of_a_run():
    figure = main_figure(TABLE)
    scores, rates = figure.axes
    assert [label.get_text() for label in scores.get_xticklabels()] == ["small", "large", "all"]
    heights = {name: [bar.get_height() for bar in container] for name, container in bars(scores).items()}
    assert heights == {
        "base, no tool": [0.25] * 3,
        "base, tool prompted": [0.25] * 3,
        "GRPO without tool": pytest.approx([0.4] * 3),
        "GRPO with zoom": pytest.approx([0.8] * 3),
    }
    whiskers = bars(scores)["GRPO with zoom"].errorbar.lines[2][0].get_segments()
    assert [segment[:, 1].tolist() for segment in whiskers] == [pytest.approx([0.7, 0.9])] * 3
    assert [bar.get_height() for bar in rates.patches[3:6]] == [1.0] * 3  # the base, tool prompted


def test_a_table_without_parts():
    whole = TABLE[[column for column in TABLE if "small" not in column and "large" not in column]]
    assert [label.get_text() for label in main_figure(whole).axes[0].get_xticklabels()] == ["all"]


def test_every_run_is_a_dot_and_the_base_is_one_run():
    scores = main_figure(TABLE).axes[0]
    dots = [line.get_ydata().tolist() for line in scores.lines if line.get_marker() == "o"]
    assert dots == [[0.3, 0.5]] * 3 + [[0.75, 0.85]] * 3


def test_a_line_for_each_run_and_none_between_them():
    """Two of three runs learn to zoom: their mean would be a run that there is not."""
    runs = {0: [0.0, 1.0], 1: [0.1, 0.9], 2: [0.0, 0.0]}
    rows = [
        {"crop": c, "score": y, "seed": seed} for seed, ys in runs.items() for c, y in zip((100, 400), ys, strict=True)
    ]
    tidied = pandas.DataFrame(rows[::-1]).assign(part="all", zoom_rate=1)
    scores, rates = score_and_rate(tidied, "crop", "side", ticks=[100, 400]).axes
    assert [line.get_ydata().tolist() for line in scores.lines] == list(runs.values())
    assert [line.get_xdata().tolist() for line in scores.lines] == [[100, 400]] * 3
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["all"]
    assert (scores.get_ylabel(), rates.get_ylabel(), rates.get_title()) == (*LABELS.values(), study_plots.ZOOMS)


def test_a_panel_for_each_part_and_a_line_for_each_table():
    tidied = pandas.DataFrame({"resolution": [56, 112], "score": [0.1, 0.5], "seed": 0})
    both = pandas.concat([tidied.assign(part="all"), tidied.assign(part="small", score=[0.0, 0.1])])
    figure = panels_by_part({"base": (both, "red", "-"), "trained": (both, "blue", ":")}, "resolution", "score", "px")
    assert [axes.get_title() for axes in figure.axes] == ["small", "all"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["base", "trained"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.0, 0.1]
    assert figure.axes[0].get_ylabel() == "score"


def test_policies_judged_with_one_seed_are_runs_of_their_own():
    runs = pandas.DataFrame({"seed": 0, "model.path": list("aabb"), "x": [1, 2] * 2, "y": [0, 0, 1, 1]})
    axes = Figure().subplots()
    curves(axes, runs, "x", "y", "trained", "red")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0, 0], [1, 1]]


def test_the_resolution_study_knows_its_policies_by_the_jobs_of_the_main_study():
    def judged(job, path, resolution, *asked):
        row = {"job": job, "setting/model.path": path, "setting/resolution": resolution, "command": ""}
        for condition in asked:
            row |= metrics(0.5, 0.5, condition, "all")
        return row

    rows = [
        judged("a", "src/loupe/models/miniature", 56, "greedy", "no_tool"),
        judged("b", "outputs/main/zoom0/model", 56, "greedy", "no_tool"),
        judged("c", "elsewhere/none1/model", 56, "no_tool"),
    ]
    lines = study_plots.resolution_lines(pandas.DataFrame(rows), TABLE)
    assert {name: tidied.job.tolist() for name, (tidied, _, _) in lines.items()} == {
        "base, no tool": ["a"],
        "base, tool prompted": ["a"],
        "GRPO without tool": ["c"],
        "GRPO with zoom": ["b"],
        "GRPO with zoom, tool removed": ["b"],
    }


def test_advantages_by_type_and_part():
    rows = [
        {"seed": seed, "step": step, "part": part, "type": kind, "mean": mean, "share": share}
        for seed in (1, 2)
        for step in (1, 2)
        for part in ("all", "large", "small")
        for kind, mean, share in (
            ("no_tool", -0.5, 0.5),
            ("tool_success", 0.5 * seed, 0.25 * seed),
            ("tool_fail", -1.0 if seed == 1 else None, 0.25 if seed == 1 else 0.0),
        )
    ]
    figure = advantages_figure(pandas.DataFrame(rows))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["all", "small", "large"]
    named = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}
    assert named["tool_success"] == pytest.approx([0.75, 0.75]) and named["no_tool"] == [-0.5, -0.5]
    assert named["tool_fail"] == [-1.0, -1.0]  # of the seed in which it occurred
    means = [line for line in figure.axes[3].lines if not line.get_label().startswith("_")]
    shares = [list(line.get_ydata()) for line in means]
    assert len(shares) == 3 and len(figure.axes[3].lines) == 3 + 3 * 2  # and each seed
    assert [sum(values) for values in zip(*shares, strict=True)] == pytest.approx([1.0, 1.0])


def test_everything_comes_last():
    assert parts(pandas.Series(["all", "large", "small"])) == ["small", "large", "all"]


def test_learning_has_a_line_for_each_run_and_each_control_its_own():
    runs = [(1, {}), (2, {}), (1, {"algorithm.optimizer.lr": 0.0}), (1, {"algorithm.shuffle_advantages": True})]
    rates = dict.fromkeys(("zoom_hit_rate/small", "score/small", "score/large", "zoom_rate/small", "zoom_rate/large"))
    rows = [
        {"setting/seed": seed, **{f"setting/{key}": value for key, value in settings.items()}, "step": step}
        | {key: step / 100 + number / 10 for key in rates}
        for number, (seed, settings) in enumerate(runs)
        for step in (0, 25)
    ]
    table = pandas.DataFrame(rows)
    hits, scores, zooms = learning_figure(table, pointing_controls(table)).axes
    assert [len(axes.lines) for axes in (hits, scores, zooms)] == [4, 6, 6]
    assert [line.get_label() for line in hits.lines] == ["small signs", "_", "learning rate 0", "shuffled advantages"]
    assert [list(line.get_ydata()) for line in hits.lines] == [
        pytest.approx([number / 10, number / 10 + 0.25]) for number in range(4)
    ]
