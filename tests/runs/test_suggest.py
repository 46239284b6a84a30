"""What Hydra refuses is answered with the override as it was typed, and with what works instead."""

import pytest
from conftest import compose_config
from hydra.errors import ConfigCompositionException, MissingConfigException

from loupe.errors import UserError
from loupe.runs.suggest import Command, explained, in_order


class Composed(Command):
    """Without the time that it takes to compose what its choices lead to."""

    known = compose_config("+reward.terms.mine=my_terms.brief")


def said(text, *arguments, cause=None):
    error = ConfigCompositionException(text)
    error.__cause__ = cause
    return explained(error, Composed("train", arguments))


@pytest.mark.parametrize(
    ("text", "argument", "expected"),
    [
        (
            "Could not override 'trainer.maxsteps'.\nTo append..",
            "trainer.maxsteps=1",
            "did you mean trainer.max_steps?",
        ),
        ("Could not override 'trainer.profiler'.", "trainer.profiler=simple", "to add it, write +trainer.profiler"),
        ("Could not override 'reward.terms.x'.", "reward.terms.x=a.b", "to add it, write +reward.terms.x=a.b"),
        (
            "Could not override 'reward.weights.mine'.",
            "reward.weights.mine=1",
            "to add it, write +reward.weights.mine=1",
        ),
        (
            "Could not override 'reward.weights.x'.",
            "reward.weights.x=1",
            "reward.weights has accuracy, soft, format, tool",
        ),
        (
            "Could not override 'algorithm/loss'.",
            "algorithm/loss=gspo",
            "there are algorithm, course, data, experiment",
        ),
        ("Could not override 'hydra.foo'.", "hydra.foo=1", "Hydra has no such setting; --cfg hydra prints all"),
        (
            "Could not delete from config. 'reward.terms.tol' does..",
            "~reward.terms.tol",
            "did you mean reward.terms.tool?",
        ),
        ("Could not delete 'logger=none'. No match", "~logger=none", "it has another value; leave that out"),
        (
            "Could not append to config. An item is already at 'crop'.",
            "+crop=3",
            "crop is there already; leave out the +",
        ),
        ("Multiple values for experiment. To..", "+experiment=quick", "experiment is there already; leave out the +"),
        ("data appears more than once in..", "+data=signs", "data is there already; leave out the +"),
        (
            "force-add of config groups is not supported: '++data=signs'",
            "++data=signs",
            "there already; leave out the +",
        ),
        ("In 'train': Could not load 'tool/rotat'.", "tool=rotat", "did you mean tool=rotate? there are none, rotate,"),
        ("Ambiguous value for argument 'crop=1,2'\n1...", "crop=1,2", "which needs -m; a list is written crop=[1,2]"),
    ],
)
def test_an_override_that_is_refused(text, argument, expected):
    line = said(text, "seed=3", argument)
    assert line.startswith(f"{argument}: ") and expected in line and "\n" not in line


def test_an_override_in_a_file():
    text = "In 'experiment/mine': Could not override 'dta'. No match in the defaults list."
    assert said(text) == "experiment/mine.yaml: dta: there is no such setting; did you mean data?"
    assert said("Multiple values for data.", "experiment=mine").endswith("in a file, write override /data: <choice>")


def test_a_key_in_the_value_is_named():
    with pytest.raises(ConfigCompositionException) as refused:
        compose_config("prompt={sytem: a}")
    line = explained(refused.value, Composed("train", ("prompt={sytem: a}",)))
    assert line == "prompt={sytem: a}: there is no setting prompt.sytem; did you mean prompt.system?"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.callbacks={a: b}", "trainer.callbacks is a list, [..]"),
        ("reward.weights=[1]", "reward.weights is a mapping, {name: value, ..}"),
        (
            "data={canvas: {a: 1}}",
            "gives a list, [..], to a setting that is a mapping, {name: value, ..}, or the other",
        ),
    ],
)
def test_a_list_for_a_mapping(override, expected):
    with pytest.raises(ConfigCompositionException) as refused:
        compose_config(override)
    assert explained(refused.value, Composed("train", (override,))).startswith(f"{override}: {expected}")


def test_a_list_for_a_mapping_in_a_file():
    text = (
        "In 'experiment/mine': ConfigTypeError raised while composing config: Cannot merge DictConfig with ListConfig"
    )
    assert said(text).startswith("experiment/mine.yaml: gives a list, [..], to a setting that is a mapping")


@pytest.mark.parametrize(
    ("group", "name", "options", "expected"),
    [
        ("data", "sgns", ["signs"], "there is no such choice; did you mean data=signs? there are beside, "),
        ("reward", "mein", ["composite"], "there is no such choice; did you mean reward=mine? there are "),
        (
            "experiment",
            "reward/answr",
            ["main"],
            "there is no such choice; did you mean experiment=reward/answer? there",
        ),
        ("experiment", "reward", ["main"], "reward is a folder of experiment=reward/answer, experiment=reward/bonus, "),
        ("hydra/launcher", "jobliib", ["basic"], "there is no such choice; there are basic"),
    ],
)
def test_a_choice_that_there_is_not(tmp_path, group, name, options, expected):
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "mine.yaml").touch()
    text = (
        f"In 'train': Could not find '{group}/{name}'\n\nAvailable options in '{group}':\n\tbasic\nConfig search path:"
    )
    error = MissingConfigException(text, f"{group}/{name}", options)
    line = explained(error, Command("train", (f"--config-dir={tmp_path}",)))
    assert line.startswith(f"{group}={name}: {expected}")


def test_what_a_sweep_and_a_resumed_run_need(tmp_path):
    """A plain override is applied before the choices that are swept over, and before the settings of the run."""
    error = ConfigCompositionException("Could not override 'data.path'.")
    swept = Command("train", ("-m", "data=vstar,hrbench_4k", "data.path=x"))
    assert explained(error, swept) == "data.path=x: data is swept over, so write ++data.path=x"
    (tmp_path / "config.yaml").write_text("paths: {output_dir: a}\ndata: {path: a}\n")
    resumed = Command("train", (f"resume={tmp_path}", "data.path=x"))
    assert explained(error, resumed) == "data.path=x: the resumed run has this setting, so write ++data.path=x"


def test_flags_may_stand_anywhere():
    assert in_order(["a=1", "-cd", "mine", "b=2", "-m", "~c"]) == ["a=1", "b=2", "~c", "-cd", "mine", "-m"]
    assert in_order(["--cfg", "job"]) == ["--cfg", "job"]
    with pytest.raises(UserError, match=r"--crop=3: no such flag; settings have no dashes, as in crop=400"):
        in_order(["a=1", "--crop=3"])
    with pytest.raises(UserError, match=r"--config-path: each command has a configuration of its own"):
        in_order(["-cp", "mine"])
