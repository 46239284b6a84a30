import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.algorithms import ALGORITHM, CONDITION, RATE, named, rates

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
