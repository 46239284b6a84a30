import pytest
import wandb
from test_loggers import finished

from loupe.errors import UserError
from loupe.history import history
from loupe.loggers import JsonlLogger, RunWandbLogger
from loupe.metrics import Histogram

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


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match=r"neither a run's folder with metrics\.jsonl, a \.wandb file, nor"):
        history(tmp_path)
