import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.sizes import CROP, OVERVIEW, SIZE, named

ASPECT = "setting/prompt.aspect"


def test_overviews_come_first_then_crops_each_from_small_to_large():
    rows = [(112, None, 1), (112, 168, None), (112, 84, None), (112, None, None), (56, None, None)]
    found = named(pandas.DataFrame(rows, columns=[OVERVIEW, CROP, ASPECT]))
    assert list(found[SIZE]) == ["56 px", "112 px", "crop 84 px", "crop 168 px", "square"]
    assert list(found) == [OVERVIEW, CROP, ASPECT, SIZE]


def test_a_sweep_of_overviews_alone_has_no_other_columns():
    assert list(named(pandas.DataFrame({OVERVIEW: [112, 56]}))[SIZE]) == ["56 px", "112 px"]


def test_another_study_is_refused():
    with pytest.raises(UserError, match="no column setting/resolution"):
        named(pandas.DataFrame({"job": ["a"]}))
