import json

import numpy as np
import pytest
import torch

from loupe.logs.jsonl import JsonlLogger
from loupe.metrics.training import Histogram


def test_one_sorted_line_per_call_and_times_in_a_file_of_their_own(tmp_path):
    logger = JsonlLogger(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    logger.log_metrics({"score": 1 / 3, "n": 4, "time/step": 2.5, "a/hist": Histogram([1, 2], [0.0, 1.0, 2.0])}, 7)
    logger.log_metrics({"val/score": 0.5}, 7)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (
        '{"step": 7, "a/hist": {"counts": [1, 2], "edges": [0.0, 1.0, 2.0]}, "n": 4, "score": 0.3333333333333333}\n'
        '{"step": 7, "val/score": 0.5}\n'
    )
    assert (tmp_path / "run" / "timing.jsonl").read_text() == '{"step": 7, "time/step": 2.5}\n'


def test_scalars_of_torch_and_numpy_are_plain_numbers(tmp_path):
    JsonlLogger(tmp_path).log_metrics({"a": torch.tensor(0.5), "b": np.float32(0.25), "c": np.int64(3)}, 1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 0.5, "b": 0.25, "c": 3}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("-inf"))])
def test_a_metric_that_is_not_finite_is_named_and_nothing_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="metric loss is"):
        JsonlLogger(tmp_path).log_metrics({"a": 1.0, "loss": value}, 1)
    assert not list(tmp_path.iterdir())


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    logger = JsonlLogger(tmp_path)
    for step in (1, 2, 3):
        logger.log_metrics({"score": step / 4, "time/step": 1.0}, step)
        logger.log_trajectories([{"step": step, "sample": 0}, {"step": step, "sample": 1}])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "sco')  # killed while writing
    logger.resume(2)
    logger.log_metrics({"score": 0.0}, 3)
    lines = {path.name: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert {name: [json.loads(line)["step"] for line in found] for name, found in lines.items()} == {
        "metrics.jsonl": [1, 2, 3],
        "timing.jsonl": [1, 2],
        "trajectories.jsonl": [1, 1, 2, 2],
    }


def test_nothing_to_write_or_to_resume(tmp_path):
    JsonlLogger(tmp_path).resume(2)
    JsonlLogger(tmp_path).log_trajectories([])
    assert not list(tmp_path.iterdir())
