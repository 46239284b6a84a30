import lightning
import pytest

from loupe.runs.checkpoints import LastCheckpoint
from loupe.runs.run import finishing


def test_an_interruption_outside_of_lightning_says_how_to_resume_too(tmp_path, capsys):
    """Such as one while the model is saved."""
    last = LastCheckpoint(tmp_path / "checkpoints", "python src/train.py")
    last.path.parent.mkdir()
    last.path.touch()
    trainer = lightning.Trainer(callbacks=[last], logger=False)
    with pytest.raises(KeyboardInterrupt), finishing(trainer):
        raise KeyboardInterrupt
    assert f"to resume: python src/train.py resume={tmp_path}" in capsys.readouterr().out
