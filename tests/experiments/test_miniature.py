"""The figures of experiments/miniature, from files written by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

from loupe.evaluation.journal import COLUMNS, write_parquet

FILE = "answers.parquet"
PATH = Path(__file__).parents[2] / "experiments" / "miniature" / "collect.py"
spec = importlib.util.spec_from_file_location("collect", PATH)
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answers(folder, condition, scores):
    folder.mkdir(parents=True)
    blank = {key: None for key in COLUMNS}
    rows = [blank | {"id": q, "subset": s, "condition": condition, "score": score} for q, (s, score) in scores.items()]
    write_parquet([*rows, blank | {"id": "a", "subset": "small", "condition": "sampled", "score": 0.25}], folder / FILE)


def test_gains_are_paired_by_question_and_greedy(tmp_path):
    answers(tmp_path / "base", "greedy", {"a": ("small", 0.0), "b": ("small", 1.0), "c": ("large", 1.0)})
    answers(tmp_path / "run", "greedy", {"c": ("large", 1.0), "b": ("small", 1.0), "a": ("small", 1.0)})
    gains = collect.gains(tmp_path / "base", tmp_path / "run")
    assert (gains["gain_small"], gains["gain_large"]) == (0.5, 0)
    assert gains["gain_all"] == pytest.approx(1 / 3)
    assert gains["gain_small_low"] == 0 and gains["gain_small_high"] == 1


def test_advantages_are_compared_where_both_types_occurred(tmp_path):
    write(
        tmp_path / "metrics.jsonl",
        [
            {"advantage/tool_success/mean": 1.0, "advantage/tool_fail/mean": -1.0},
            {"advantage/tool_success/mean": 0.0, "advantage/tool_fail/mean": 0.5, "advantage_large/no_tool/mean": 1.0},
            {"advantage/tool_success/mean": 9.0, "val/score": 0.0},
        ],
    )
    found = collect.advantages(tmp_path)
    assert found["adv_success_over_fail"] == pytest.approx(0.75)
    assert found["adv_success_over_fail_steps"] == 0.5
    assert (
        found["adv_success_over_no_tool_large"] != found["adv_success_over_no_tool_large"]
    )  # never both: not a number
