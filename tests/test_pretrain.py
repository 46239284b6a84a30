"""src/pretrain.py, for a few steps."""

import json
from functools import partial
from unittest.mock import Mock

import pytest
from conftest import compose_config

import pretrain as entry
from loupe.errors import Interrupted, NonFiniteError, UserError
from loupe.models import tiny
from loupe.models.load import load_policy
from loupe.pretrain import curriculum
from loupe.pretrain.curriculum import Stage
from loupe.pretrain.module import finish
from loupe.runs.checkpoints import LastCheckpoint

LITTLE = (
    Stage(0.5, (1, 1), 0, 0.1, {"point": 1, "where": 1}, views=2, pictures=2),
    Stage(1.0, (2, 2), 1, 0.5, {"direct": 1, "clumsy": 1}, views=2, pictures=2),
)


@pytest.fixture
def pretrain(monkeypatch):
    monkeypatch.setitem(curriculum.COURSES, "base", LITTLE)

    def run(folder, *overrides):
        settings = ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.enable_progress_bar=false"]
        settings += ["+pretrain.module.matrix_optimizer.ns_steps=1"]  # of Muon's five, each of which takes a while
        settings += ["logger=none", "data.n_val=4", "rollout.max_new_tokens=4", f"paths.output_dir={folder}"]
        return entry.pretrain(compose_config(*settings, "threads=1", *overrides, name="pretrain"))

    return run


def test_a_run_saves_a_base(pretrain, tmp_path):
    skills = pretrain(tmp_path)
    assert set(skills) >= {"reading", "direct_large", "pointing_small", "sampled/zoom_rate/small"}
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in metrics if "val/reading" in row] == [2, 4]
    assert json.loads((tmp_path / "skills.json").read_text()) == skills
    base, random = load_policy(str(tmp_path / "model")), load_policy(None, tiny.build)
    assert not any(a.equal(b) for a, b in zip(base.parameters(), random.parameters(), strict=True) if a.ndim == 2)


def test_a_base_is_saved_as_a_whole(tmp_path, monkeypatch):
    def killed(policy, folder):
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("loupe.pretrain.module.save_policy", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path, Mock())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_it_resumes_bit_for_bit(pretrain, tmp_path, monkeypatch, stop):
    pretrain(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_start", lambda self, trainer, module: None)
        patch.setattr(LastCheckpoint, "on_train_batch_end", partial(_stop_after, stop))
        with pytest.raises(Interrupted, match=f"stopped after step {stop}; to resume: python src/"):
            pretrain(tmp_path / "parts")
    pretrain(tmp_path / "parts", f"resume={tmp_path / 'parts'}")
    assert (tmp_path / "parts" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    whole, parts = (load_policy(str(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(a.equal(b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def _stop_after(stop, trainer, module, outputs, batch, batch_idx):
    """Act like Ctrl-C during that step."""
    callback = next(callback for callback in trainer.callbacks if isinstance(callback, LastCheckpoint))
    if trainer.global_step == stop:
        callback.requested = True
        callback._save(trainer)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.module.optimizer.lr=-1", "pretrain.module.optimizer: Invalid learning rate"),
        ("pretrain.module.matrix_optimizer.lr=-1", "pretrain.module.matrix_optimizer: "),
        ("trainer.max_steps=0", "trainer.max_steps=0: must be"),
        ("tool=none", "lessons need tool=zoom"),
        ("data.n_val=0", "data.n_val"),
    ],
)
def test_bad_settings(pretrain, tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        pretrain(tmp_path, override)


def test_lessons_need_signs():
    cfg = compose_config(name="pretrain")
    cfg.data = compose_config("data=none").data
    with pytest.raises(UserError, match="lessons are about rendered signs: choose data=signs or data=boxes"):
        entry.build_module(cfg)


def test_a_run_that_diverges_stops_in_one_line(pretrain, tmp_path):
    with pytest.raises(NonFiniteError, match=r"lower pretrain\.module"):
        pretrain(tmp_path, "pretrain.module.optimizer.lr=1e30", "pretrain.module.warmup_steps=0")


def test_it_starts_from_random_weights():
    assert compose_config(name="pretrain").model.path is None
