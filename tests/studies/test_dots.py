import pandas
import pytest
from matplotlib.figure import Figure

from loupe.studies.dots import conditions_figure, dots

COLORS = {"left": "#111111", "right": "#222222", "absent": "#333333"}


def test_each_row_is_a_dot_above_its_value_and_in_the_color_of_its_group():
    rows = [("b", 0.1, "left"), ("b", 0.2, "left"), ("b", 0.3, "right"), ("a long condition", 0.4, "right")]
    axes = Figure().subplots()
    dots(axes, pandas.DataFrame(rows, columns=["x", "y", "by"]), "x", "y", "by", COLORS)
    drawn = {(line.get_color(), *line.get_ydata()): list(line.get_xdata()) for line in axes.lines}
    assert drawn == {
        ("#111111", 0.1, 0.2): pytest.approx([-0.32, -0.08]),  # left of the middle, and apart
        ("#222222", 0.3): pytest.approx([0.2]),
        ("#222222", 0.4): pytest.approx([1.2]),
    }
    assert [text.get_text() for text in axes.get_xticklabels()] == ["b", "a long\ncondition"]
    assert axes.get_legend_handles_labels()[1] == ["left", "right"]


def table(*parts):
    row = {"job": "1", "command": "", "setting/heat": "mild"}
    for part, score in parts:
        row |= {f"after/score/{part}": score, f"after/score/{part}/low": 0.0, f"after/score/{part}/high": 1.0}
        row |= {f"after/zoom_rate/{part}": score / 2}
    return pandas.DataFrame([row, row | {"job": "2", "setting/heat": "hot"}])


def drawn(figure):
    return [sorted(y for line in axes.lines for y in line.get_ydata()) for axes in figure.axes]


def test_a_run_has_a_dot_for_each_subset_under_its_condition():
    figure = conditions_figure(table(("all", 0.5), ("small", 0.2), ("large", 0.8)), "setting/heat")
    assert drawn(figure) == [[0.2, 0.2, 0.8, 0.8], [0.1, 0.1, 0.4, 0.4]]
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["mild", "hot"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["small", "large"]


def test_without_subsets_all_questions_are_drawn():
    assert drawn(conditions_figure(table(("all", 0.5)), "setting/heat")) == [[0.5, 0.5], [0.25, 0.25]]
