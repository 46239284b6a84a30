import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.rejection import METHOD, METHODS, named

DAPO = "loupe.grpo.losses.DAPO"


def test_every_run_has_its_method():
    rows = [
        {"setting/experiment": "rejection_sft", "setting/min_score": 0.0},
        {"setting/experiment": "rejection_rounds"},
        {"setting/experiment": "rejection", "setting/algorithm": "raft", "setting/algorithm.loss._target_": DAPO},
        {"setting/experiment": "rejection_sft", "setting/min_score": 0.5},
        {"setting/experiment": "rejection", "setting/algorithm": "raft"},
        {"setting/experiment": "rejection", "setting/algorithm": "grpo"},
    ]
    assert list(named(pandas.DataFrame(rows))[METHOD]) == list(METHODS)


def test_another_study_is_refused():
    with pytest.raises(UserError, match=r"no run of the experiments rejection.* in 1 rows"):
        named(pandas.DataFrame({"setting/experiment": ["main"]}))
