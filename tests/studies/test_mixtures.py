import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.mixtures import MIXTURE, named

MIX, HARD = "setting/data.mix", "setting/data.hard_fraction"


def test_mixtures_are_in_the_order_of_their_share_of_hard_questions():
    rows = [("zero", None), ("all", 0.75), ("mine", None), ("all", None), ("all", 0.25), ("one_to_one", None)]
    table = pandas.DataFrame(rows, columns=[MIX, HARD])
    assert list(named(table)[MIXTURE]) == ["25% hard", "one_to_one", "all", "75% hard", "zero", "mine"]
    assert list(named(table[[MIX]].iloc[:1])[MIXTURE]) == ["zero"]
    with_groups = named(table.assign(**{"setting/rollout": [None] * 4 + ["balanced", None]}))
    assert list(with_groups[MIXTURE][:2]) == ["25% hard, balanced", "one_to_one"]
    longer = named(table.assign(**{"setting/trainer.max_steps": [None, None, None, 150, None, None]}))
    assert list(longer[MIXTURE][1:3]) == ["one_to_one", "all, 150 steps"]
    assert list(named(pandas.concat([with_groups.drop(columns=MIXTURE), table]))[MIXTURE][:3]) == [
        *("25% hard", "25% hard, balanced", "one_to_one")
    ]


def test_another_study_is_refused():
    with pytest.raises(UserError, match=r"no column setting/data\.mix"):
        named(pandas.DataFrame({"job": ["a"]}))
