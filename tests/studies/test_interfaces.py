import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.interfaces import COUNTED, INTERFACE, calls, named

FORM, BASE = "setting/tool.call", "setting/model.path"


def test_forms_are_in_order_each_followed_by_that_from_another_base():
    rows = [("box_json", None), ("mine", None), ("box_yaml", "x/model"), ("keypoint_yaml", None), ("box_yaml", None)]
    found = named(pandas.DataFrame(rows, columns=[FORM, BASE]))
    assert list(found[INTERFACE]) == ["keypoint_yaml", "box_yaml", "box_yaml, other base", "box_json", "mine"]
    assert list(named(pandas.DataFrame({FORM: ["function"]}))[INTERFACE]) == ["function"]


def test_balanced_groups_stand_beside_the_same_base_without_them():
    rows = [
        ("box_yaml", "x/model", None),
        ("box_yaml", None, "balanced"),
        ("box_json", None, None),
        ("box_yaml", None, None),
    ]
    found = named(pandas.DataFrame(rows, columns=[FORM, BASE, "setting/rollout"]))
    assert list(found[INTERFACE]) == ["box_yaml", "box_yaml, balanced", "box_yaml, other base", "box_json"]


def test_how_a_form_is_called_is_a_mean_over_its_runs():
    rows = [("function", when, value, None) for when in ("before", "after") for value in (0.25, 0.75)]
    table = pandas.DataFrame(rows, columns=[FORM, "when", "calling", "side"])
    table = table.reindex(columns=[FORM, "when", *COUNTED])
    shown = calls(table)
    assert shown[["interface", "when", "calling", "runs"]].values.tolist() == [
        ["function", "before", 0.5, 2],
        ["function", "after", 0.5, 2],
    ]
    assert shown.side.isna().all()  # no run has a crop


def test_another_study_is_refused():
    with pytest.raises(UserError, match=r"no column setting/tool\.call"):
        named(pandas.DataFrame({"job": ["a"]}))
