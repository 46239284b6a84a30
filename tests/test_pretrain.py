"""python src/pretrain.py, for a few steps."""

import json

import pytest
from conftest import CONF
from hydra import compose, initialize_config_dir

import pretrain as entry
from loupe.errors import UserError
from loupe.models.load import load_policy
from loupe.pretrain import curriculum
from loupe.pretrain.curriculum import Stage

LITTLE = (
    Stage(0.5, (1, 1), 0, 0.1, {"point": 1, "where": 1}, views=2, pictures=2),
    Stage(1.0, (2, 2), 1, 0.5, {"direct": 1, "clumsy": 1}, views=2, pictures=2),
)


@pytest.fixture
def pretrain(monkeypatch):
    monkeypatch.setattr(curriculum, "STAGES", LITTLE)

    def run(folder, *overrides):
        settings = ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.enable_progress_bar=false"]
        settings += ["logger=none", "pretrain.n_val=4", "rollout.max_new_tokens=4", f"paths.output_dir={folder}"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return entry.pretrain(compose("pretrain", overrides=[*settings, "threads=1", *overrides]))

    return run


def test_a_base_comes_out_and_goes_on_bit_by_bit(pretrain, tmp_path):
    skills = pretrain(tmp_path / "whole")
    assert set(skills) >= {"reading", "direct_large", "pointing_small", "sampled/zoom_rate_small"}
    metrics = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in metrics if "val/reading" in row] == [2, 4]
    assert json.loads((tmp_path / "whole" / "skills.json").read_text()) == skills
    base = load_policy(str(tmp_path / "whole" / "model"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry.runs.LastCheckpoint, "on_validation_end", _save_and_stop)
        with pytest.raises(UserError, match="stopped after step 2"):
            pretrain(tmp_path / "parts")
    pretrain(tmp_path / "parts", f"resume={tmp_path / 'parts'}")
    assert (tmp_path / "parts" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    again = load_policy(str(tmp_path / "parts" / "model"))
    assert all(a.equal(b) for a, b in zip(base.parameters(), again.parameters(), strict=True))


def _save_and_stop(self, trainer, module):
    """As after Ctrl-C."""
    self.requested = True
    self._save(trainer)


def test_it_begins_with_random_weights():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("pretrain").model.path is None
