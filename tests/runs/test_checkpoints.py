"""The checkpoints that are there, and which one counts as the last, whenever a run stops."""

import os
from types import SimpleNamespace

import pytest
import torch

from loupe.errors import EngineLost
from loupe.runs.checkpoints import BestCheckpoint, LastCheckpoint, WholeCheckpoints, drop_later_best, make_last


def held(folder):
    return {path.name: torch.load(path)["global_step"] for path in folder.iterdir()}


def save(folder, step, name="last"):
    WholeCheckpoints().save_checkpoint({"global_step": step}, folder / f"{name}.ckpt")


def test_the_last_but_one_is_kept(tmp_path):
    save(tmp_path, 1, "best")
    save(tmp_path, 1)
    assert held(tmp_path) == {"best.ckpt": 1, "last.ckpt": 1}
    for step in (2, 3):
        save(tmp_path, step)
        assert held(tmp_path) == {"best.ckpt": 1, "last.ckpt": step, "previous.ckpt": step - 1}


def test_while_a_checkpoint_is_written_the_last_one_is_there_and_no_other_takes_room(tmp_path, monkeypatch):
    for step in (1, 2):
        save(tmp_path, step)

    def full(*_):
        assert held(tmp_path) == {"last.ckpt": 2}
        raise OSError("full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="full"):
        save(tmp_path, 3)
    assert held(tmp_path) == {"last.ckpt": 2}


class Trainer:
    global_step = 7
    state = SimpleNamespace(fn="fit")

    def save_checkpoint(self, path):
        save(path.parent, self.global_step)


def lost_elsewhere():
    exit_of_this_rank = SystemExit(0)
    exit_of_this_rank.__cause__ = EngineLost("the process of another rank's engine has ended")
    return exit_of_this_rank


@pytest.mark.parametrize("exception", [EngineLost("it has ended"), lost_elsewhere()], ids=["here", "elsewhere"])
def test_a_run_whose_engine_has_ended_can_be_resumed(tmp_path, capsys, exception):
    last = LastCheckpoint(tmp_path / "checkpoints", "python src/train.py")
    last.on_exception(Trainer(), None, exception)
    assert held(tmp_path / "checkpoints") == {"last.ckpt": 7}
    assert "stopped after step 7; to resume: python src/train.py resume=" in capsys.readouterr().out


def test_another_end_saves_nothing(tmp_path):
    LastCheckpoint(tmp_path / "checkpoints", "python src/train.py").on_exception(Trainer(), None, SystemExit(0))
    assert not (tmp_path / "checkpoints").exists()


def unsupported(*_):
    raise OSError(95, "Operation not supported")


def test_without_hard_links_none_is_kept_and_the_log_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "link", unsupported)
    for step in (1, 2):
        save(tmp_path, step)
    assert held(tmp_path) == {"last.ckpt": 2}
    assert "previous.ckpt is not kept (Operation not supported)" in caplog.text


@pytest.mark.parametrize("links", [True, False])
def test_the_one_that_a_run_resumes_from_becomes_the_last(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", unsupported)
    save(tmp_path, 1, "best")
    save(tmp_path, 2)
    make_last(tmp_path / "last.ckpt", tmp_path)
    assert held(tmp_path) == {"best.ckpt": 1, "last.ckpt": 2}
    make_last(tmp_path / "best.ckpt", tmp_path)
    assert held(tmp_path) == {"best.ckpt": 1, "last.ckpt": 1}


@pytest.mark.parametrize(("step", "left"), [(2, []), (3, ["best.ckpt"]), (4, ["best.ckpt"])])
def test_the_best_one_is_dropped_if_the_run_resumes_before_it(tmp_path, step, left):
    save(tmp_path, 3, "best")
    drop_later_best(tmp_path, step)
    assert [path.name for path in tmp_path.iterdir()] == left
    drop_later_best(tmp_path, step)


def test_a_damaged_best_one_is_dropped(tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"half")
    drop_later_best(tmp_path, 9)
    assert not list(tmp_path.iterdir())


def test_without_its_file_the_best_score_counts_no_more(tmp_path, caplog):
    kept, resumed, anew = (BestCheckpoint(tmp_path) for _ in range(3))
    kept.best_model_path, kept.best_model_score = str(tmp_path / "best.ckpt"), torch.tensor(0.75)
    save(tmp_path, 3, "best")
    resumed.load_state_dict(kept.state_dict())
    assert (resumed.best_model_path, resumed.best_score()) == (kept.best_model_path, 0.75) and not caplog.text
    (tmp_path / "best.ckpt").unlink()
    anew.load_state_dict(kept.state_dict())
    assert (anew.best_model_path, anew.best_score()) == ("", None)
    assert "best.ckpt: the best one so far is not there; the best one from here on is kept" in caplog.text
