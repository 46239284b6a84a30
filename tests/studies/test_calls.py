import json

import pytest

from loupe.studies.calls import call_rows, calls

ANSWERS = [
    {"calls": ["ok"], "crops": [(0, 0, 400, 100)], "hits": [True], "n_sampled": 40},
    {"calls": ["not_yaml", "ok"], "crops": [(0, 0, 100, 100)], "hits": [False], "n_sampled": 60},
    {"calls": ["not_yaml"], "crops": [], "hits": [], "n_sampled": 35},
    {"calls": [], "crops": [], "hits": None, "n_sampled": 15},
]


def test_calls_by_hand():
    assert calls(ANSWERS) == {
        "calling": 0.75,
        "failed": 0.5,
        "hits": 0.5,
        "side": 150,
        "tokens/with_call": 45,
        "tokens/without": 15,
    }


def test_what_there_is_none_of_is_left_open():
    found = calls(ANSWERS[3:])
    assert (found["calling"], found["tokens/without"]) == (0, 15)
    assert [found[name] for name in ("failed", "hits", "side", "tokens/with_call")] == [None] * 4


def test_a_run_has_a_row_before_and_one_after_training(tmp_path):
    run = tmp_path / "a"
    (run / ".hydra").mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 3\n")
    (run / "summary.json").write_text('{"best_val_score": 0.5}')
    made = {"command": "python src/train.py -m crop=400", "commit": "abc", "uncommitted": False}
    (run / "provenance.json").write_text(json.dumps(made))
    lines = [row | {"split": split} for split, row in zip(("before", "train", "after", "after"), ANSWERS, strict=True)]
    (run / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    before, after = call_rows(tmp_path)
    assert (before["job"], before["when"], before["side"]) == ("a", "before", 200)
    assert (after["setting/crop"], after["when"], after["calling"]) == ("400", "after", pytest.approx(0.5))
