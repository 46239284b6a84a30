"""May a job write in a folder, resume there, or has it finished?"""

import json
import shutil

import pytest
import torch
from conftest import compose_config
from helpers.commands import run
from omegaconf import OmegaConf

from loupe.atomic import write_json
from loupe.errors import UserError
from loupe.evaluation.settings import answer_settings
from loupe.grpo.module import NON_FINITE
from loupe.runs import folder
from loupe.runs.config import sweep_name
from loupe.runs.files import RunFile, read_json
from loupe.runs.folder import (
    checkpoint_path,
    finished_before,
    open_for_answers,
    open_for_entry,
    open_for_training,
    read_checkpoint,
    run_folder,
    set_aside,
)
from loupe.runs.lock import LOCK


def stated(*overrides):
    return answer_settings(
        compose_config("data.n_test=3", "paths.output_dir=x", *overrides, name="evaluate"), factor=28
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs") / "first"
    run(made, "trainer.max_steps=1", drawn=True)
    return made


def test_an_earlier_run_is_kept(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "metrics.jsonl").write_text(content)
        (tmp_path / "model").mkdir()
        (tmp_path / "notes.txt").write_text("mine")
        set_aside(tmp_path)
    assert (tmp_path / "previous-1" / "metrics.jsonl").read_text() == "first"
    assert (tmp_path / "previous-2" / "metrics.jsonl").read_text() == "second"
    assert (tmp_path / "previous-2" / "model").is_dir()
    assert (tmp_path / "notes.txt").exists()


def test_a_run_is_set_aside_as_a_whole_though_the_process_is_killed_meanwhile(tmp_path, monkeypatch):
    """The next process moves the rest; in between, what is left cannot be resumed."""
    names = ("checkpoints", "metrics.jsonl", "summary.json")
    for name in names:
        (tmp_path / name).touch()
    move = folder.shutil.move

    def killed(path, to):
        if path.name == "summary.json":
            raise KeyboardInterrupt
        move(path, to)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder.shutil, "move", killed)
        set_aside(tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    assert {path.name for path in set_aside(tmp_path).iterdir()} == set(names)
    assert [path.name for path in tmp_path.iterdir()] == ["previous-1"]


def test_what_a_killed_evaluation_left_half_written_is_removed(tmp_path):
    (tmp_path / "config.yaml.7.partial").touch()
    open_for_answers(tmp_path, stated())
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_folder_in_which_nothing_ran_is_left_alone(tmp_path):
    (tmp_path / "config.yaml").write_text("crop: 400")
    assert set_aside(tmp_path) is None
    assert (tmp_path / "config.yaml").exists()


def test_every_file_of_a_run_is_set_aside(first, tmp_path):
    """Nothing that a run writes is missing from ``RunFile``."""
    left = {path.name for path in first.iterdir()} - {LOCK}
    assert left <= {str(name) for name in RunFile}
    (first / "nonfinite_batch_1.pt").touch()
    aside = set_aside(first)
    assert {path.name for path in aside.iterdir()} == left | {NON_FINITE.replace("*", "_1")}
    assert {path.name for path in first.iterdir()} == {LOCK, aside.name}
    for path in aside.iterdir():
        path.rename(first / path.name)
    aside.rmdir()


def test_an_entry_that_does_not_train_keeps_the_records_of_a_run(first, tmp_path):
    with pytest.raises(UserError, match="holds a run; choose another folder"):
        open_for_entry(compose_config(), first)
    with pytest.raises(UserError, match=r"only training can be resumed; give model\.path"):
        open_for_entry(compose_config(f"resume={first}"), tmp_path)
    open_for_entry(compose_config(), tmp_path / "new")
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("left", ["metrics.jsonl", "summary.json", "model"])
def test_what_is_left_of_a_run_is_still_one(tmp_path, left):
    (tmp_path / left).touch()
    with pytest.raises(UserError, match="holds a run; choose another folder"):
        open_for_entry(compose_config(), tmp_path)
    open_for_training(compose_config(), tmp_path)
    assert (tmp_path / "previous-1" / left).exists() and not (tmp_path / left).exists()


def test_the_folder_of_a_resumed_run_may_be_called_by_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(2024, "new") == "new"
    (tmp_path / "2024").mkdir()
    assert run_folder(2024, "new") == "2024"
    with pytest.raises(UserError, match=r"resume=2024: no checkpoint at 2024/checkpoints/last\.ckpt"):
        checkpoint_path(compose_config("resume=2024"))


@pytest.mark.parametrize("left", ["answers.jsonl", "evaluation.json"])
def test_a_run_keeps_the_records_of_an_evaluation(tmp_path, left):
    for name in (left, "config.yaml"):
        (tmp_path / name).write_text("kept")
    with pytest.raises(UserError, match="holds answers of an evaluation or a mining; choose another folder"):
        open_for_training(compose_config(), tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {left: "kept", "config.yaml": "kept"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["paths.output_dir=elsewhere"], "a run resumes in its own folder; leave out paths.output_dir"),
        (["model.lora={r: 4}"], "the model settings differ"),
    ],
)
def test_a_run_is_not_resumed_as_another(first, overrides, message):
    with pytest.raises(UserError, match=message):
        read_checkpoint(compose_config(f"resume={first}", *overrides))


@pytest.mark.parametrize(("steps", "finished"), [(1, True), (2, False)])
def test_a_run_that_goes_on_is_not_finished(first, tmp_path, steps, finished):
    run = shutil.copytree(first, tmp_path / "run")
    open_for_training(compose_config(f"resume={run}", "model=tiny_random", f"trainer.max_steps={steps}"), run)
    assert (run / "summary.json").exists() == finished


@pytest.mark.parametrize("other", ["sft", "pretrain"])
def test_a_run_of_another_command_is_left_as_it_is(first, tmp_path, other):
    run = shutil.copytree(first, tmp_path / "run")
    command = f"python src/{other}.py traces=x paths.output_dir={run}"
    write_json(run / "provenance.json", read_json(run / "provenance.json") | {"command": command})
    kept = (run / "metrics.jsonl").read_bytes()
    message = rf"{run} is a run of {other}\.py, not of train\.py; .* model\.path={run}/model$"
    with pytest.raises(UserError, match=message):
        open_for_training(compose_config(f"resume={run}", "model=tiny_random"), run)
    assert (run / "metrics.jsonl").read_bytes() == kept and not (run / "parts.jsonl").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "algorithm.optimizer._target_=torch.optim.SGD",
            r"resume: algorithm\.optimizer\._target_=torch\.optim\.SGD cannot",
        ),
        ("trainer.max_steps=0", r"trainer\.max_steps=0: the checkpoint is of step 1; give as many or more"),
    ],
)
def test_what_cannot_go_on_from_a_checkpoint(first, override, message):
    with pytest.raises(UserError, match=message):
        read_checkpoint(compose_config(f"resume={first}", "model=tiny_random", override))


def test_changed_settings_are_named_when_resuming(first, caplog):
    read_checkpoint(compose_config(f"resume={first}", "model=tiny_random", "crop=200"))
    assert "crop" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None], ids=["empty", "text", "another pickle"])
def test_what_is_not_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.write_bytes(content) if content is not None else torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"resume=.*: .*not a checkpoint"):
        read_checkpoint(compose_config(f"resume={tmp_path}"))


def test_for_a_damaged_checkpoint_the_others_are_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"half")
    best, previous = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("best", "previous"))
    with pytest.raises(UserError, match="give another"):
        read_checkpoint(compose_config(f"resume={tmp_path}"))
    best.touch()
    with pytest.raises(UserError, match=f"last.ckpt is damaged .*; resume={best} continues from there"):
        read_checkpoint(compose_config(f"resume={tmp_path}"))
    with pytest.raises(UserError, match=f"{best} is damaged .*; give another"):
        read_checkpoint(compose_config(f"resume={best}"))
    previous.touch()
    with pytest.raises(UserError, match=f"; resume={previous} or resume={best} continues from there"):
        read_checkpoint(compose_config(f"resume={tmp_path}"))
    with pytest.raises(UserError, match=f"{previous} is damaged .*; resume={best} continues from there"):
        read_checkpoint(compose_config(f"resume={previous}"))


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("crop=300", "crop, tool.zoom.crop"),
        ("seed=1", "data.order_seed, data.seed, rollout.seed, seed"),
        ("evaluate.samples=2", "evaluate.known.sampled.samples, evaluate.samples"),
    ],
)
def test_answers_given_under_other_settings_are_kept_apart(tmp_path, override, named):
    open_for_answers(tmp_path, stated())
    open_for_answers(tmp_path, stated(override))  # nothing has been answered yet
    open_for_answers(tmp_path, stated())
    answered(tmp_path, "greedy", "sampled")
    open_for_answers(
        tmp_path, stated("data.eval_batch_size=2", "evaluate.conditions=[greedy,direct]", "evaluate.resamples=9")
    )
    with pytest.raises(UserError, match=rf"given under other settings \({named}\); choose another folder"):
        open_for_answers(tmp_path, stated(override))


def answered(folder, *conditions):
    outcomes = [{"condition": name, "number": 0, "rows": [], "skipped": None} for name in conditions]
    (folder / "answers.jsonl").write_text("".join(json.dumps(outcome) + "\n" for outcome in outcomes))


def test_conditions_may_be_added_but_not_changed(tmp_path):
    open_for_answers(tmp_path, stated())
    answered(tmp_path, "greedy", "direct")
    open_for_answers(tmp_path, stated("+evaluate.known.mine={tool: false}"))
    open_for_answers(tmp_path, stated())
    with pytest.raises(UserError, match=r"other settings \(evaluate\.known\.direct\.tool\)"):
        open_for_answers(tmp_path, stated("evaluate.known.direct.tool=true"))


def test_a_condition_without_answers_may_be_changed(tmp_path):
    open_for_answers(tmp_path, stated())
    answered(tmp_path, "greedy")
    open_for_answers(tmp_path, stated("evaluate.describe=''", "evaluate.conditions=[greedy,textcot]"))
    answered(tmp_path, "greedy", "textcot")
    with pytest.raises(UserError, match=r"other settings \(evaluate\.known\.textcot\.prompt\.user\)"):
        open_for_answers(tmp_path, stated())


def test_answers_of_another_commit_are_named(tmp_path, caplog):
    earlier = stated() | {"commit": "abc"}
    open_for_answers(tmp_path, earlier)
    (tmp_path / "answers.jsonl").touch()
    assert open_for_answers(tmp_path, stated())["commit"] == "abc"
    assert "holds answers given by commit abc" in caplog.text


def config(folder, *overrides):
    return compose_config(f"paths.output_dir={folder}", "logger.group=null", *overrides)


@pytest.fixture
def left(tmp_path, monkeypatch):
    """What a job left behind that wrote its configuration and no more."""
    monkeypatch.setattr(folder, "in_sweep", lambda: True)
    OmegaConf.save(config(tmp_path, "crop=300", "threads=2"), tmp_path / "config.yaml", resolve=True)
    return tmp_path


def test_a_finished_job_is_not_run_again(left):
    (left / "summary.json").write_text('{"after": 1}')
    other = config(left, "crop=300", "threads=1", "trainer.enable_progress_bar=false", "logger=none")
    assert finished_before(other, left) == {"after": 1}  # they have no say in it


def test_a_finished_job_in_a_folder_that_was_moved_is_not_run_again(left, tmp_path_factory):
    (left / "summary.json").write_text('{"after": 1}')
    moved = tmp_path_factory.mktemp("moved") / "job"
    left.rename(moved)
    assert finished_before(config(moved, "crop=300"), moved) == {"after": 1}


def test_an_unfinished_job_goes_on(left):
    cfg = config(left, "crop=300")
    assert finished_before(cfg, left) is None and cfg.resume is None  # there is no checkpoint yet
    (left / "checkpoints").mkdir()
    (left / "checkpoints" / "last.ckpt").touch()
    assert finished_before(cfg, left) is None and cfg.resume == str(left)


@pytest.mark.parametrize("content", ["", "{", "3", "[1]"])
def test_a_job_with_a_damaged_summary_goes_on(left, caplog, content):
    (left / "summary.json").write_text(content)
    (left / "checkpoints").mkdir()
    (left / "checkpoints" / "last.ckpt").touch()
    cfg = config(left, "crop=300")
    assert finished_before(cfg, left) is None and cfg.resume == str(left)
    assert f"{left}/summary.json cannot be read" in caplog.text


def test_a_job_with_damaged_settings_restarts(left, caplog):
    text = (left / "config.yaml").read_text()
    # Cut off within the name of a setting, a group is a text.
    in_names = [text.index(f"\n{group}:\n  ") + len(group) + 6 for group in ("trainer", "report", "data")]
    for size in (*range(0, len(text), 211), *in_names):
        (left / "config.yaml").write_text(text[:size])
        cfg = config(left, "crop=300")
        assert finished_before(cfg, left) is None and cfg.resume is None
    assert f"{left}/config.yaml cannot be read" in caplog.text


@pytest.mark.parametrize("content", ["", "{half", "7"])
def test_damaged_settings_of_answers_are_named(tmp_path, content):
    (tmp_path / "answers.jsonl").touch()
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings\.json cannot be read .*; restore it from a copy"):
        open_for_answers(tmp_path, stated())


def test_a_job_whose_settings_have_changed_restarts(left, caplog):
    (left / "summary.json").write_text("{}")
    cfg = config(left, "crop=400")
    assert finished_before(cfg, left) is None and cfg.resume is None
    assert "restarts" in caplog.text


def test_outside_of_a_sweep_nothing_is_taken_up(left, monkeypatch):
    monkeypatch.undo()
    (left / "summary.json").write_text("{}")
    assert finished_before(config(left, "crop=300"), left) is None
    assert sweep_name() is None
