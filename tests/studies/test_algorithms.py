import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.algorithms import ALGORITHM, CONDITION, RATE, learning, named, rates
from loupe.studies.course import BY_HALF

SIZE, EPOCHS = "setting/algorithm.group_size", "setting/algorithm.inner_epochs"


def test_conditions_are_named_and_in_order():
    rows = [("grpo", 16, None), ("rloo", 16, None), ("grpo", None, 4), ("dr_grpo", None, None), ("mine", None, None)]
    table = pandas.DataFrame([*rows, ("grpo", None, None), ("grpo", 2, None)], columns=[ALGORITHM, SIZE, EPOCHS])
    expected = ["GRPO", "Dr. GRPO", "RLOO", "groups of 2", "groups of 16", "GRPO, 4 epochs", "mine"]
    assert list(named(table)[CONDITION]) == expected
    assert list(named(table[[ALGORITHM]])[CONDITION]) == ["GRPO"] * 4 + ["Dr. GRPO", "RLOO", "mine"]


def test_another_study_is_refused():
    with pytest.raises(UserError, match=r"no column setting/algorithm: "):
        named(pandas.DataFrame({"job": ["a"]}))


def test_learning_rates_are_compared_by_their_mean_over_seeds():
    rows = [("rloo", 1e-4, 0.5), ("grpo", 1e-3, 0.2), ("grpo", 1e-4, 0.6), ("grpo", 1e-4, 0.8)]
    found = rates(pandas.DataFrame(rows, columns=[ALGORITHM, RATE, "best_val_score"]))
    assert list(found.index) == ["GRPO", "RLOO"] and list(found.columns) == [1e-4, 1e-3]
    with pytest.raises(UserError, match="no column"):
        rates(pandas.DataFrame({"best_val_score": [0.5]}))
    assert found.loc["GRPO"].tolist() == [pytest.approx(0.7), 0.2]
    assert found.loc["RLOO"].isna().tolist() == [False, True]


def test_how_conditions_learn_is_told_by_validation_and_half():
    """DAPO samples further groups; what agrees is counted among all of them."""
    validations = [("dapo", 0, 0.5), ("dapo", 25, 0.8), ("grpo", 0, 0.5), ("grpo", 25, 0.7), ("grpo", 25, 0.9)]
    courses = [
        ("dapo", 0.0, 0.1, 0.2, 0.4, 20.0, 30.0),
        ("grpo", 0.1, 0.3, *[None] * 4),
        ("grpo", 0.3, 0.5, *[None] * 4),
    ]
    halves = [f"{half}/{name}" for name in BY_HALF for half in ("first_half", "second_half")]
    table = pandas.DataFrame(courses, columns=[ALGORITHM, *halves])
    found = learning(pandas.DataFrame(validations, columns=[ALGORITHM, "step", "score/all"]), table)
    expected = ["condition", "step 0", "step 25", "agree, 1", "agree, 2", "groups, 1", "groups, 2"]
    assert list(found.columns) == expected and list(found.condition) == ["GRPO", "DAPO"]
    assert found.iloc[0, 1:5].tolist() == pytest.approx([0.5, 0.8, 0.2, 0.4]) and found.iloc[0, 5:].isna().all()
    assert found.iloc[1, 1:].tolist() == pytest.approx([0.5, 0.8, 0.2, 0.4, 20, 30])
    without = table[table[ALGORITHM] == "grpo"].drop(columns=halves[2:])  # a sweep without dynamic sampling
    assert learning(pandas.DataFrame(validations, columns=[ALGORITHM, "step", "score/all"]), without).shape == (2, 7)
