"""The figures of experiments/main, from files written by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

from loupe.errors import UserError

PATH = Path(__file__).parents[2] / "experiments" / "main" / "gains.py"
spec = importlib.util.spec_from_file_location("gains", PATH)
gains = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gains)


def run(folder, tool, before, after):
    """A finished job; before and after: question -> score. Questions with an s are about small signs."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "summary.json").write_text("{}")
    provenance = {"command": f"python src/train.py tool={tool}", "commit": "abc", "uncommitted": False}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    rows = [
        {"id": q, "split": split, "subset": "small" if "s" in q else "large", "terms": {"hard": score}}
        for split, scores in (("before", before), ("after", after), ("train", {"s0": 0.5}))
        for q, score in scores.items()
    ]
    (folder / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_gains_are_paired_by_question_over_both_yardsticks(tmp_path):
    run(tmp_path / "a", "none", {"s1": 0.0, "s2": 0.0, "l1": 1.0}, {"s2": 0.0, "s1": 0.0, "l1": 0.5})
    run(tmp_path / "b", "zoom", {"s1": 1.0, "s2": 0.0, "l1": 0.0}, {"l1": 1.0, "s1": 1.0, "s2": 1.0})
    found = {(row["tool"], row["over"]): row for row in gains.rows(tmp_path)}
    assert found["none", "base"]["large"] == -0.5 and found["none", "base"]["small"] == 0.0
    assert found["zoom", "base"]["all"] == pytest.approx(2 / 3) and found["zoom", "base"]["all_n"] == 3
    assert found["zoom", "prompted tool"]["small"] == 0.5
    assert found["zoom", "prompted tool"]["small_low"] == 0.0 and found["zoom", "prompted tool"]["small_high"] == 1.0


def test_a_study_that_is_not_whole(tmp_path):
    run(tmp_path / "a", "none", {"s1": 0.0}, {"s1": 0.0})
    with pytest.raises(UserError, match="no finished run with tool=zoom"):
        gains.rows(tmp_path)
