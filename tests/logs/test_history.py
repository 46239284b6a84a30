import struct

import pytest
import wandb
from helpers.wandb_files import finished
from wandb.proto.wandb_internal_pb2 import Record

from loupe.errors import UserError
from loupe.logs.history import history
from loupe.logs.jsonl import JsonlLogger
from loupe.logs.wandb_logger import RunWandbLogger
from loupe.metrics.training import Histogram

ROWS = {0: {"val/score": 0.5}, 1: {"score": 1 / 3, "advantage/no_tool/mean": -0.25}}


def test_a_runs_folder_and_its_offline_file_tell_the_same(tmp_path):
    loggers = [JsonlLogger(tmp_path), RunWandbLogger("offline", tmp_path, "loupe")]
    for logger in loggers:
        for step, row in ROWS.items():
            logger.log_metrics(row | {"advantage/hist": Histogram([1], [0.0, 1.0])}, step)
        logger.finish()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    finished(path)
    plain, offline = history(tmp_path), history(str(path))
    assert plain == [{"step": s, "advantage/hist": {"counts": [1], "edges": [0.0, 1.0]}} | r for s, r in ROWS.items()]
    assert [{key: row[key] for key in ("step", *ROWS[row["step"]])} for row in offline] == [
        {"step": step} | row for step, row in ROWS.items()
    ]
    assert offline[0]["advantage/hist/values"] == [1]


def test_a_file_that_is_still_being_written_ends_with_its_last_whole_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"ste')
    assert history(tmp_path) == [{"step": 1}]


def test_an_offline_file_that_is_still_being_written_ends_with_its_last_whole_row(tmp_path):
    whole = tmp_path / "whole.wandb"
    chunks = [b":W&B\xbe\xd4\x00"]
    for step in (1, 2):
        record = Record()
        record.history.item.add(nested_key=["trainer", "global_step"], value_json=str(step))
        data = record.SerializeToString()
        chunks.append(struct.pack("<IHB", 0, len(data), 1) + data)
    whole.write_bytes(b"".join(chunks))
    steps = [[row["step"] for row in history(whole)]]
    for cut in range(1, len(chunks[-1])):
        whole.write_bytes(b"".join(chunks)[:-cut])
        steps.append([row["step"] for row in history(whole)])
    assert steps == [[1, 2]] + [[1]] * (len(chunks[-1]) - 1)


def test_another_kind_of_file(tmp_path):
    (tmp_path / "a.wandb").write_text("step,score")
    with pytest.raises(UserError, match=r"a\.wandb: not a W&B file"):
        history(tmp_path / "a.wandb")


def test_a_run_on_the_servers(monkeypatch):
    class Run:
        def scan_history(self):
            yield {"trainer/global_step": 3, "score": 0.5, "_timestamp": 1.0}

    class Api:
        def run(self, name):
            assert name == "me/loupe/abc"
            return Run()

    monkeypatch.setattr(wandb, "Api", Api)
    assert history("me/loupe/abc") == [{"step": 3, "trainer/global_step": 3, "score": 0.5, "_timestamp": 1.0}]


def test_a_run_that_the_servers_do_not_have(monkeypatch):
    class Api:
        def run(self, name):
            raise wandb.errors.CommError("could not find run\nat all")

    monkeypatch.setattr(wandb, "Api", Api)
    with pytest.raises(UserError, match=r"me/loupe/abc: neither .* \(could not find run\)$"):
        history("me/loupe/abc")


@pytest.mark.parametrize("name", [".", "missing", "../outputs/missing", "/a/b"])
def test_nothing_to_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"neither a run's folder with metrics\.jsonl, a \.wandb file, nor .* on W&B$"):
        history(name)
