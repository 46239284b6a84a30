"""What a user gets wrong is said in one line that names the thing and the fix, without a traceback."""

import errno
import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import compose_config
from helpers.commands import SMALL
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError

import train as entry
from loupe.errors import UserError
from loupe.runs import cli, config, folder
from loupe.runs.build import build_module


def complain(monkeypatch, *overrides):
    """The line with which the command ends."""
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, "logger=none", *overrides])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("crop=0", r"crop=0: must be a whole number, 1 or more"),
        ("crop=-1", r"crop=-1: must be a whole number"),
        ("crop=big", r"crop=big: must be a whole number"),
        ("resolution=0", r"resolution=0: must be a whole number of pixels, 28"),
        ("resolution=wide", r"resolution=wide: must be"),
        ("seed=-1", r"seed=-1: must be a whole number, 0 or more"),
        ("threads=0.5", r"threads=0\.5: must be a whole number"),
        ("reward=unknown", r"reward=unknown: there is no such choice; there are accuracy_only, .*composite"),
        ("data=unknown", r"data=unknown: there is no such choice; .*signs"),
        ("experiment=reward", r"reward is a folder of experiment=reward/answer, experiment=reward/bonus"),
        ("model=unknown", r"model=unknown: there is no such choice; .*tiny"),
        ("reward.weights.humour=1", r"humour"),
        ("reward.weights.hard=1", r"reward\.weights\.hard=1: this is called reward\.weights\.accuracy now"),
        ("reward=hard_only", r"reward=hard_only: this is called reward=accuracy_only now"),
        ("reward.weights.tool=much", r"reward\.weights\.tool=much: must be a finite number"),
        ("reward.gate=closed", r"reward\.gate=closed: must be one of none, group_correct, tool_needed, tool_benefit"),
        ("coordinates=polar", r"coordinates=polar: must be one of shown"),
        ("tool.max_calls=-1", r"tool\.max_calls=-1"),
        ("algorithm.group_size=1", r"algorithm\.group_size=1: must be a whole number, 2 or more"),
        ("algorithm.advantage_scale=none", r"=none: this is called algorithm\.advantage\._target_=\S*\.group_mean now"),
        ("algorithm.advantage_scale=max", r"=max: this is called algorithm\.advantage\._target_ now"),
        ("algorithm.advantage=group_std", r"algorithm\.advantage=group_std: name a function"),
        (
            "algorithm.advantage._target_=loupe.grpo.advantages.typo",
            r"advantages\.typo: the module loupe\.grpo\.advantages \(.*\) has no typo",
        ),
        (
            "+algorithm.advantage.of_rewards=true",
            r"of_rewards: there is no such setting; algorithm\.advantage has no settings",
        ),
        ("algorithm.importance_cap=2.0", r"algorithm\.importance_cap=2\.0: needs algorithm\.old_logprobs=update"),
        ("algorithm.loss.clip_low=-0.1", r"algorithm\.loss\.clip_low=-0\.1"),
        ("rollout.temperature=0", r"rollout\.temperature=0: must be a number from 1e-06 to 1000000"),
        ("rollout.temperature=1e-320", r"rollout\.temperature=1e-320: must be a number from 1e-06"),
        ("rollout.temperature=nan", r"rollout\.temperature=nan: must be a number from 1e-06"),
        ("trainer.max_steps=0", r"trainer\.max_steps=0: must be a whole number, 1 or more"),
        ("+trainer.gradient_clip_val=1", r"gradient_clip_val"),
        ("data.batch_size=0", r"data\.batch_size=0: must be a whole number"),
        ("data.p_small=2", r"data\.p_small=2"),
        ("trainer.precision=bf16-true", r"trainer\.precision=bf16-true: must be one of 32-true, bf16-mixed"),
        ("+trainer.strategy=ddp trainer.devices=2", r"2 devices: add trainer=ddp"),
        ("algorithm.max_grad_norm=0", r"algorithm\.max_grad_norm=0: must be a number above 0"),
        ("algorithm.old_logprobs=both", r"algorithm\.old_logprobs=both: must be one of rollout, update"),
        ("logger.mode=loud", r"logger\.mode=loud: must be one of"),
        (
            "resume=/nowhere",
            r"resume=/nowhere: no checkpoint at /nowhere/checkpoints/last.ckpt; give a checkpoint",
        ),
        ("crop=", r"crop=: must be|crop=None: must be"),
        ("corp=400", r"corp=400: there is no such setting; did you mean crop\?"),
        ("data.n_test=0", r"data\.n_test=0: must be a whole number"),
        ("data.n_val=0", r"data\.n_val=0: must be a whole number from 1 to"),
        ("data.canvas=[10,10]", r"data\.canvas=10: must be"),
        ("algorithm.optimizer.lr=abc", r"algorithm\.optimizer: "),
        ("algorithm.optimizer.lr=-1", r"algorithm\.optimizer: Invalid learning rate"),
        ("algorithm.optimizer.lr=inf", r"algorithm\.optimizer: a setting, or a weight .* is not finite; .*lr=inf"),
        ("algorithm.optimizer.betas=[0.9]", r"algorithm\.optimizer: .*\(given: .*betas=\[0\.9\]"),
        (
            "reward.weights.accuracy=1e308",
            r"reward\.weights\.accuracy=1e\+308: must be a finite number, up to 1000000",
        ),
        (
            "reward.weights.tool={start:0,end:-1e9,steps:5}",
            r"reward\.weights\.tool\.end=-1000000000\.0: must be a finite number",
        ),
        ("algorithm.loss=null", r"algorithm\.loss is empty; choose an algorithm"),
        ("reward.terms=null", r"reward\.terms=None: must be a group of settings, one for each term"),
        ("reward.weights=3", r"reward\.weights=3: must be a group of settings"),
        ("reward.shaping=5", r"reward\.shaping=5: must be a list of terms"),
        ("trainer=null", r"Config group override must be"),
        ("prompt=3", r"prompt=3: must be a group of settings; set those in it, as prompt\.<key>=\.\."),
        ("data=null", r"Config group override must be .*; name one of the group's files"),
        ("algorithm.loss.beta=abc", r"algorithm\.loss\.beta=abc: must be a number from 0"),
        ("algorithm.loss.beta=1e308", r"algorithm\.loss\.beta=1e\+308: must be a number from 0 to 1000000"),
        ("algorithm.loss.clip_low=2", r"algorithm\.loss\.clip_low=2: must be below 1"),
        ("algorithm=dr_grpo algorithm.loss.max_tokens=0", r"algorithm\.loss\.max_tokens=0"),
        ("rollout.temperature=hot", r"rollout\.temperature=hot: must be a number from 1e-06"),
        ("model.logits_chunk=0", r"model\.logits_chunk=0"),
        ("model.dtype=8", r"model\.dtype=8: must be one of float32"),
        ("model.lora=8", r"model\.lora=8: must be null or"),
        ("model.lora={r:0}", r"model\.lora\.r=0"),
        ("model.lora={r:8,target:nothing}", r"model\.lora=.*nothing"),
        ("prompt.system=null", r"prompt\.system=None: must be text"),
        ("prompt.system='{foo}'", r"prompt\.system: only \{tool\} can be filled in"),
        ("trainer.accelerator=gpu", r"trainer\.accelerator=gpu"),
        ("trainer.accelerator=foo", r"trainer\.accelerator=foo"),
        ("+trainer.foo=1", r"foo"),
        ("seed=99999999999", r"seed=99999999999: must be below"),
        ("threads=0", r"threads=0"),
        ("threads=100000", r"threads=100000: must be a whole number from 1 to 1024"),
        ("data.num_workers=100000", r"data\.num_workers=100000: must be a whole number from 0 to 1024"),
        ("model.build.seed=1000000000000", r"model\.build\.seed=1000000000000: must be a whole number from 0"),
        ("crop=[", r"crop=\[: not a valid override"),
        ("algorithm.lr=1e-5", r"algorithm\.lr=1e-5: .*; did you mean algorithm\.optimizer\.lr\?"),
        ("+algorithm.foo=1", r"algorithm\.foo: there is no such setting; algorithm has group_size, "),
        ("~reward", r"reward is missing; choose one of accuracy_only, answer_only, "),
        ("--crop=400", r"--crop=400: no such flag; settings have no dashes"),
        ("-cn mine", r"--config-name: each command has a configuration of its own; add to it by --config-dir"),
    ],
)
def test_bad_settings(monkeypatch, tmp_path, override, message):
    line = complain(monkeypatch, f"paths.output_dir={tmp_path / 'run'}", *override.split())
    assert line.startswith("error: ")
    assert "\n" not in line
    assert re.search(message, line), line


def test_a_checkpoint_folder_without_a_tokenizer(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    line = complain(monkeypatch, f"model.path={tmp_path / 'model'}", f"paths.output_dir={tmp_path / 'run'}")
    assert "no tokenizer there" in line and "\n" not in line


@pytest.mark.parametrize("below", ["file/run", "file", "x" * 300])
def test_an_output_folder_that_cannot_be_written(monkeypatch, tmp_path, below):
    (tmp_path / "file").write_text("")
    line = complain(monkeypatch, f"paths.output_dir={tmp_path / below}")
    name = below.partition("/")[0]
    assert re.fullmatch(rf"error: cannot write {tmp_path}/{name}.*: .*; choose another paths\.output_dir", line), line


@pytest.mark.parametrize("empty", ["", "''", "' '", "null"])
def test_an_empty_output_folder(monkeypatch, tmp_path, empty):
    monkeypatch.chdir(tmp_path)
    line = complain(monkeypatch, f"paths.output_dir={empty}")
    assert line == "error: paths.output_dir is empty; name a folder, or leave it out"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("empty", ["", "' '"])
def test_an_empty_run_to_resume(monkeypatch, tmp_path, empty):
    monkeypatch.chdir(tmp_path)
    line = complain(monkeypatch, f"resume={empty}")
    assert line == "error: resume is empty; name the folder of a run, or leave it out"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "Full", "/out/run/a/.hydra/config.yaml"), "/out/run/a/.hydra/config.yaml: Full"),
        (OSError(errno.ENOSPC, "Full"), "/out/run/a: Full"),
        (OSError(errno.EACCES, "Denied", "/out"), "/out: Denied"),
        (OSError(errno.EACCES, "Denied", "/out/run/b"), None),
        (OSError(errno.ENOENT, "Missing", "/data/pictures"), None),
        (OSError(errno.EIO, "Input/output error", "/out/run/a"), None),
        (ValueError("a bug"), None),
    ],
)
def test_only_errors_of_the_output_folder_are_blamed_on_it(error, message):
    told = message and f"error: cannot write {message}; choose another paths.output_dir"
    assert cli.explain_folder(error, Path("/out/run/a")) == told


def test_an_error_inside_a_job_is_not_blamed_on_its_folder(monkeypatch, tmp_path):
    def fail(*args):
        raise FileNotFoundError(errno.ENOENT, "Missing", str(tmp_path / "metrics.jsonl"))

    monkeypatch.setattr(folder, "open_for_training", fail)
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, "logger=none", f"paths.output_dir={tmp_path}"])
    with pytest.raises(FileNotFoundError):
        entry.main()


ODD = [
    *("a b, c", "it's", "x\\", "\\'", "a\\\\'b", "${oops}", "\\${x}", '(a) [b] {c}; d! é 日本 "q"', "'", ""),
    *("C:\\dir\\", "null", "1,2", "a=b", "$x {y}", "\\\\", "'''", "${a}'\\", "~!@#%^&*?<>|`"),
]


def as_read(argument, key):
    """The value of ``key`` after Hydra has parsed ``argument``."""
    cfg = OmegaConf.create({key: None})
    OmegaConf.update(cfg, key, OverridesParser.create().parse_override(argument).value())
    return cfg[key]


@pytest.mark.parametrize("value", ODD)
def test_literal_values_reach_the_program_as_typed(value):
    assert as_read(cli.quoted(f"question={value}", ("question",)), "question") == value
    assert cli.quoted(f"crop={value}", ("question",)) == f"crop={value}"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data.path=~/coco", "data.path=/home/me/coco"),
        ("folder=[~/a,~/b]", "folder=[/home/me/a,/home/me/b]"),
        ("tags=[a~/b,~c]", "tags=[a~/b,~c]"),
        ("~trainer", "~trainer"),
        ("~/outputs/first", "~/outputs/first"),  # the shell has replaced this one, unless it is meant so
    ],
)
def test_a_path_in_the_home_folder(monkeypatch, typed, read):
    monkeypatch.setenv("HOME", "/home/me")
    assert cli.at_home(typed) == read


@pytest.mark.parametrize("value", [*(f"/runs/{odd}" for odd in ODD), "outputs/first"])
def test_a_command_that_is_printed_can_be_pasted(value):
    (argument,) = shlex.split(config.override("resume", value))
    assert as_read(argument, "resume") == value
    assert config.override("resume", "outputs/2025-01-01/first") == "resume=outputs/2025-01-01/first"


@pytest.mark.parametrize("debug", ["debug=true", "debug=True"])
def test_debug_shows_the_traceback(monkeypatch, tmp_path, debug):
    argv = ["train.py", *SMALL, "logger=none", "crop=0", debug, f"paths.output_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(UserError, match="crop=0"):
        entry.main()


def test_bugs_keep_their_traceback():
    assert cli.explain(ValueError("a bug")) is None


def test_a_user_error_is_found_behind_what_wraps_it():
    try:
        try:
            raise UserError("the cause")
        except UserError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        assert cli.explain(error) == "error: the cause"


def test_all_parts_hold_the_same_policy(tmp_path):
    module = build_module(compose_config(*SMALL, f"paths.output_dir={tmp_path}"))
    assert module.policy is module.rollout.policy is module.rollout.dialogue.policy


@pytest.mark.parametrize("reward", ["composite", "answer_only", "tool_if_correct", "tool_if_needed", "outcome_gated"])
@pytest.mark.parametrize("tool", ["zoom", "none"])
def test_groups_combine_freely(tmp_path, reward, tool):
    cfg = compose_config(*SMALL, f"reward={reward}", f"tool={tool}", f"paths.output_dir={tmp_path}", "crop=123")
    module = build_module(cfg)
    assert ("<tool>" in module.rollout.dialogue.system) == (tool == "zoom")
    assert all(tool.crop == 123 for tool in module.rollout.dialogue.tools.tools.values())


def test_a_weight_schedule_from_the_command_line(tmp_path):
    cfg = compose_config("reward.weights.tool={start: 0.2, end: 0, steps: 10}", f"paths.output_dir={tmp_path}")
    assert build_module(cfg).reward.weight("tool", 5) == pytest.approx(0.1)


def test_a_file_that_is_no_yaml(monkeypatch, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("trainer: {max_steps: 3\ncrop: 3\n")
    line = complain(monkeypatch, f"--config-dir={tmp_path}", "experiment=mine", f"paths.output_dir={tmp_path}")
    assert line.startswith(f"error: {tmp_path}/experiment/mine.yaml, line 2: not valid YAML; ")


def test_a_mistyped_setting_of_an_own_data_set(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("_target_: my_data_set.build\nbatch_size: 2\n")
    (tmp_path / "my_data_set.py").write_text("def build(batch_size, heldout=8): ...\n")
    monkeypatch.setattr(sys, "argv", ["train.py", f"--config-dir={tmp_path}", "data=mine", "data.heldot=3"])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == "error: data.heldot=3: there is no such setting; did you mean +data.heldout?"


def test_a_bug_in_what_is_built_keeps_its_traceback():
    cfg = OmegaConf.create({"a": {"b": {"_target_": "json.loads", "s": "{"}, "_target_": "builtins.dict"}})
    with pytest.raises(InstantiationException) as raised:
        config.instantiate(cfg.a)
    assert cli.explain(raised.value) is None


def test_a_reference_to_nothing():
    cfg = OmegaConf.create({"crop": "${corp}"})
    with pytest.raises(InterpolationKeyError) as raised:
        _ = cfg.crop
    assert cli.explain(raised.value).startswith("error: crop: Interpolation key 'corp' not found; it names a setting")


def test_a_failing_job_does_not_end_the_sweep(monkeypatch, tmp_path):
    finished = []

    def task(cfg):
        if cfg.crop == "big":
            raise UserError("crop=big: must be a whole number")
        finished.append(cfg.crop)

    task.__name__ = "train"
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "crop=200,big,400", f"paths.output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match="crop=big: must be a whole number"):
        cli.entry(task)()
    assert finished == [200, 400]
