import lightning
import pytest
from conftest import compose_config

from loupe.errors import UserError
from loupe.runs.build import build_trainer


def trainer(folder, callbacks: str) -> lightning.Trainer:
    return build_trainer(compose_config("logger=none", f"trainer.callbacks={callbacks}"), folder)


def test_own_callbacks_are_added_to_those_of_a_run(tmp_path):
    bare, made = (trainer(tmp_path, given) for given in ("[]", "[{_target_: lightning.pytorch.callbacks.Timer}]"))
    (timer,) = (callback for callback in made.callbacks if isinstance(callback, lightning.pytorch.callbacks.Timer))
    assert {type(c) for c in made.callbacks} == {type(c) for c in bare.callbacks} | {type(timer)}


@pytest.mark.parametrize("given", ["3", "[3]", "null"])
def test_anything_else_is_refused(tmp_path, given):
    with pytest.raises(UserError, match=r"trainer\.callbacks=.*: must be a list of callbacks"):
        trainer(tmp_path, given)
