from unittest.mock import Mock

import lightning
import pytest
from conftest import compose_config

from loupe.errors import UserError
from loupe.runs.build import build_data, build_trainer


def trainer(folder, callbacks: str) -> lightning.Trainer:
    return build_trainer(compose_config("logger=none", f"trainer.callbacks={callbacks}"), folder)


def test_own_callbacks_are_added_to_those_of_a_run(tmp_path):
    bare, made = (trainer(tmp_path, given) for given in ("[]", "[{_target_: lightning.pytorch.callbacks.Timer}]"))
    (timer,) = (callback for callback in made.callbacks if isinstance(callback, lightning.pytorch.callbacks.Timer))
    assert {type(c) for c in made.callbacks} == {type(c) for c in bare.callbacks} | {type(timer)}


def kinds(folder, *overrides) -> list[str]:
    return [type(logger).__name__ for logger in build_trainer(compose_config(*overrides), folder).loggers]


def test_loggers_come_one_by_one_and_together(tmp_path):
    always = ["JsonlLogger", "RunWandbLogger"]
    assert kinds(tmp_path, "logger=csv") == [*always, "CSVLogger"]
    added = "+logger.mine={_target_: lightning.pytorch.loggers.logger.DummyLogger}"
    assert kinds(tmp_path, "logger=[wandb,csv]", added) == [*always, "CSVLogger", "DummyLogger"]


HINT = "Requirement '{0}' not met. HINT: Try running `pip install -U '{0}'`"  # as Lightning writes it


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError(HINT.format("comet-ml>=3.44.4")), "comet-ml"),
        (ModuleNotFoundError("\n".join(map(HINT.format, ("tensorboardX", "tensorboard")))), "tensorboard"),
        (ModuleNotFoundError("No module named 'neptune'", name="neptune"), "neptune"),
        (ModuleNotFoundError("something else"), "csv"),
    ],
)
def test_a_logger_whose_package_is_missing(tmp_path, monkeypatch, error, package):
    monkeypatch.setattr("lightning.pytorch.loggers.CSVLogger.__init__", Mock(side_effect=error))
    with pytest.raises(UserError, match=rf"^logger\.csv: a package is not installed; pip install {package}, or choose"):
        kinds(tmp_path, "logger=csv")


@pytest.mark.parametrize("options", ["{nam: x}", "3"])
def test_what_is_no_logger(tmp_path, options):
    with pytest.raises(UserError, match=r"^logger\.mine: there is no such setting"):
        kinds(tmp_path, f"+logger.mine={options}")


@pytest.mark.parametrize("given", ["3", "[3]", "null"])
def test_anything_else_is_refused(tmp_path, given):
    with pytest.raises(UserError, match=r"trainer\.callbacks=.*: must be a list of callbacks"):
        trainer(tmp_path, given)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=none"], "no training split; use it for evaluation, or choose another with data="),
        (["data.n_train=3", "data.batch_size=4"], "the training set has 3 examples, but one step takes 4"),
        (
            ["data.n_train=6", "data.batch_size=4", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"],
            "has 6 examples, but one step takes 8",
        ),
    ],
)
def test_questions_that_make_no_step(overrides, message):
    with pytest.raises(UserError, match=message):
        build_data(compose_config(*overrides))
