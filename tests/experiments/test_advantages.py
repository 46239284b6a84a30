"""The table of experiments/advantages, from files written by hand."""

import json

from conftest import load_script

collect = load_script("advantages/collect.py")


def test_one_row_per_step_part_and_type_with_the_seed_of_the_run(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 114\n")
    step = {"step": 1, "advantage/small/tool_fail/count": 0, "advantage/small/tool_fail/share": 0.0}
    step |= {f"advantage/all/no_tool/{name}": value for name, value in (("mean", -0.5), ("count", 3), ("share", 0.75))}
    lines = [step, {"step": 1, "val/score/all": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert collect.rows(tmp_path) == [
        {"seed": 114, "step": 1, "part": "all", "type": "no_tool", "mean": -0.5, "count": 3, "share": 0.75},
        {"seed": 114, "step": 1, "part": "small", "type": "tool_fail", "mean": None, "count": 0, "share": 0.0},
    ]
