import pandas
import pytest

from loupe.errors import UserError
from loupe.metrics.effect import TERMS
from loupe.studies.effects import by_step, effects, effects_figure

MEASURED = {  # by part: gains and harms at step 0, and by how much they change until step 100
    "all": ((0.25, 0.0, 0.125, 0.0), (0.25, 0.0, -0.125, 0.0)),
    "small": ((0.5, 0.25, 0.0, 0.0), (0.25, -0.25, 0.0, 0.0)),
    "large": ((0.0, 0.0, 0.5, 0.25), (0.0, 0.0, -0.5, -0.25)),
}


def judged(run: str, step: int, shift: float) -> dict:
    """The row of an evaluation. shift: what this run gains less by calls than the other."""
    row = {"job": f"{run}{step}", "setting/model.path": f"outputs/med/{run}/snapshots/step_{step}"}
    for part, (start, change) in MEASURED.items():
        terms = [first + step / 100 * more for first, more in zip(start, change, strict=True)]
        terms[0] -= shift * (part != "large")
        row |= {f"{term}/{part}": value for term, value in zip(TERMS, terms, strict=True)}
        row |= {f"{term}/{part}/low": value - 0.1 for term, value in zip(TERMS, terms, strict=True)}
        row |= {f"tool_effect/{part}": terms[0] + terms[1] - terms[2] - terms[3], f"tool_effect/{part}/n": 9}
    return row


TRAININGS = [{"job": run, "setting/seed": seed, "after/score/all": 0.9} for seed, run in enumerate("ab")]
TABLE = pandas.DataFrame(
    [*TRAININGS, *(judged(run, step, shift) for step in (100, 0, 25) for run, shift in (("a", 0), ("b", 0.125)))]
)


def test_a_row_for_each_snapshot_and_part():
    tidy = effects(TABLE)
    assert list(tidy) == ["run", "step", "part", "tool_effect", *TERMS]
    assert len(tidy) == 2 * 3 * 3
    assert tidy[(tidy.part == "small") & (tidy.run == "outputs/med/b")].values.tolist() == [
        ["outputs/med/b", 0, "small", 0.625, 0.375, 0.25, 0, 0],
        ["outputs/med/b", 25, "small", 0.625, 0.4375, 0.1875, 0, 0],
        ["outputs/med/b", 100, "small", 0.625, 0.625, 0, 0, 0],
    ]


def test_a_snapshot_that_was_judged_twice_is_refused():
    with pytest.raises(UserError, match="outputs/med/b/snapshots/step_25: was evaluated under several settings"):
        effects(pandas.concat([TABLE, pandas.DataFrame([judged("b", 25, 0.0)])], ignore_index=True))


def test_means_over_the_runs_at_each_step():
    shown = by_step(TABLE, {"gain": "call_gain/small", "harm": "call_harm/large"})
    assert list(shown) == ["gain", "harm"] and list(shown.index) == [0, 25, 100]
    assert shown.values.tolist() == [[0.4375, 0.5], [0.5, 0.375], [0.6875, 0.0]]
    partly = TABLE.assign(**{"call_gain/small": TABLE["call_gain/small"].where(TABLE.job != "a0")})
    assert by_step(partly, {"gain": "call_gain/small"}).gain.tolist() == [0.375, 0.5, 0.6875]
    with pytest.raises(UserError, match="no column noise/score/all: not all conditions of this study were asked"):
        by_step(TABLE, {"noise": "noise/score/all"})


def test_gains_are_stacked_upward_and_harms_downward():
    figure = effects_figure(TABLE)
    small, large, everything = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["small", "large", "all"]
    assert heights(small) == [[0.4375, 0.5, 0.6875], [0.6875, 0.6875, 0.6875], [0] * 3, [0] * 3]
    assert heights(large) == [[0] * 3, [0] * 3, [-0.5, -0.375, 0], [-0.75, -0.5625, 0]]
    named = [line.get_ydata().tolist() for line in everything.lines]
    assert named == [[0.125, 0.21875, 0.5], [0.0, 0.09375, 0.375], [0.0625, 0.15625, 0.4375]]
    assert everything.lines[-1].get_label() == "tool effect"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["call gain", "schema gain", "call harm", "schema harm", "tool effect"]


def heights(axes) -> list[list[float]]:
    """The outer edge of each area at steps 0, 25 and 100."""
    edges = []
    for area in axes.collections:
        points = area.get_paths()[0].vertices
        edges.append([max(points[points[:, 0] == step, 1], key=abs).item() for step in (0, 25, 100)])
    return edges


@pytest.mark.parametrize("table", [TABLE[:2], TABLE.drop(columns=[key for key in TABLE if "tool_effect" in key])])
def test_a_table_without_evaluations_of_snapshots(table):
    with pytest.raises(UserError, match=r"no evaluation of a snapshot \(snapshots/step_<n>\) under greedy and no_tool"):
        effects(table)
