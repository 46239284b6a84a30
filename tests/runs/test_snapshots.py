import pytest
from conftest import compose_config

from loupe.errors import UserError
from loupe.runs.build import own_callbacks
from loupe.runs.snapshots import Snapshots, drop_later


def made(steps: str) -> Snapshots:
    cfg = compose_config(f"trainer.callbacks=[{{_target_: loupe.runs.snapshots.Snapshots, steps: {steps}}}]")
    return own_callbacks(cfg.trainer)[0]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("5", r"^trainer\.callbacks: steps=5: must be a list of steps, such as \[0, 50, 100\]"),
        ("[-1]", r"^trainer\.callbacks: steps=-1: must be a whole number, 0 or more"),
        ("[x]", r"^trainer\.callbacks: steps=x: must be a whole number"),
    ],
)
def test_what_is_no_list_of_steps_is_refused(steps, message):
    with pytest.raises(UserError, match=message):
        made(steps)


def test_a_step_that_the_run_never_reaches_is_refused():
    made("[0, 4]").check(4)
    made("[]").check(4)
    with pytest.raises(UserError, match=r"^trainer\.callbacks: steps: 5 is beyond trainer\.max_steps=4; leave it out"):
        made("[0, 5]").check(4)


def test_a_run_that_resumes_keeps_the_earlier_snapshots_only(tmp_path):
    for name in ("step_0", "step_25", "step_100", "step_100.7.partial", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    drop_later(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "step_0", "step_100.7.partial", "step_25"]
    drop_later(tmp_path / "none", 25)
