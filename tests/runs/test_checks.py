"""Settings that nothing reads, or that are missing, are told by name."""

from itertools import zip_longest

import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from loupe.errors import UserError
from loupe.paths import CONF
from loupe.rewards.composite import Schedule
from loupe.runs.checks import require_arguments, require_documented
from loupe.runs.config import instantiate

CFG = compose_config()
SCHEDULE = "loupe.rewards.composite.Schedule"


def require_known(cfg):
    require_documented(cfg)
    require_arguments(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"corp": 3}, r"corp: there is no such setting; did you mean crop\?"),
        ({"paths.outputdir": 3}, r"paths\.outputdir: .*; did you mean paths\.output_dir\?"),
        ({"trainer.maxsteps": 3}, r"trainer\.maxsteps: .*; did you mean trainer\.max_steps\?"),
        ({"algorithm.loss.beeta": 3}, r"algorithm\.loss\.beeta: .*; did you mean algorithm\.loss\.beta\?"),
        ({"algorithm.loss._target_": "loupe.grpo.losses.GSP"}, r"loss\._target_=loupe.* has no GSP; did you mean GSPO"),
        ({"algorithm.loss._target_": "loupe.records.OK"}, r"loss\._target_=loupe\.records\.OK: .* nothing .* called"),
        ({"experiment": {"seed": 3}}, r"experiment: the first line of the chosen file must be: # @package _global_"),
        ({"reward": "iou"}, r"reward=iou: in a file, write this under defaults, as - override /reward: iou$"),
        (
            {"tool._target_": "loupe.tools.rotate.RotateTool"},
            r"tool\._target_=.*: a tool\'s settings lie under its name, as tool\.<name>",
        ),
        ({"prompt": 3}, r"prompt=3: must be a group of settings; set those in it, as prompt\.<key>=\.\."),
    ],
)
def test_settings_that_are_refused(overrides, message):
    cfg = CFG.copy()
    for key, value in overrides.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(UserError, match=message):
        require_known(cfg)


@pytest.mark.parametrize(("key", "message"), [("data", "choose one of beside, .*, vstar"), ("crop", "give it a value")])
def test_settings_that_are_missing(key, message):
    cfg = CFG.copy()
    OmegaConf.set_struct(cfg, False)
    del cfg[key]
    with pytest.raises(UserError, match=f"{key} is missing; {message}"):
        require_known(cfg)


def test_an_argument_of_what_is_in_a_list():
    cfg = OmegaConf.create({"parts": [{"_target_": SCHEDULE, "starts": 1}]})
    with pytest.raises(UserError, match=r"^parts\.0\.starts: there is no such setting; "):
        require_arguments(cfg)


def test_what_may_be_added():
    cfg = CFG.copy()
    OmegaConf.set_struct(cfg, False)
    cfg.side, cfg.crop = 300, "${side}"  # a setting of one's own, to which another one refers
    cfg.trainer.profiler = "simple"
    cfg.reward.terms.mine = "my_terms.brief"
    cfg.evaluate = {"known": {"mine": {"samples": 3}}}  # of another command, as in an experiment that serves both
    require_known(cfg)


@pytest.mark.parametrize("name", ["evaluate", "mine", "ask", "serve", "show", "pretrain"])
def test_every_command_has_only_known_settings(name):
    require_known(compose_config(*(["course=boxes"] if name == "pretrain" else []), name=name))


@pytest.mark.slow
def test_every_choice_has_only_known_settings():
    groups = ("model", "data", "tool", "reward", "algorithm", "trainer", "logger")
    choices = [[f"{group}={path.stem}" for path in (CONF / group).glob("*.yaml")] for group in groups]
    for overrides in zip_longest(*choices):
        require_known(compose_config(*filter(None, overrides)))


def part(target, **settings):
    return OmegaConf.create({"part": {"_target_": target, **settings}}).part


def test_what_the_settings_describe_is_called():
    assert instantiate(part(SCHEDULE, start=1, end=2), steps=3) == Schedule(1, 2, 3)
    assert instantiate(part(SCHEDULE, _args_=[1, 2, 3])) == Schedule(1, 2, 3)
    later = instantiate(part("builtins.dict", schedule={"_target_": SCHEDULE, "start": 1, "_partial_": True}))[
        "schedule"
    ]
    assert later(end=2, steps=3) == Schedule(1, 2, 3)


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"start": 1, "end": 2}, {}, r"^part\.steps is missing; give it a value$"),
        (
            {"start": 1, "end": 2, "stepps": 3},
            {"steps": 3},
            r"^part\.stepps: there is no such setting; part has start, end",
        ),
        ({"start": 1, "end": 2, "steps": 3}, {"steps": 3}, r"^part\.steps: the command itself decides this; leave it"),
        (
            {"start": {"_target_": SCHEDULE, "end": 2, "steps": 1}},
            {"end": 2, "steps": 3},
            r"^part\.start\.start is miss",
        ),
    ],
)
def test_arguments_that_do_not_fit(settings, given, message):
    with pytest.raises(UserError, match=message):
        instantiate(part(SCHEDULE, **settings), **given)


def test_an_argument_that_is_passed_on_to_where_it_is_unknown():
    cfg = CFG.copy()
    OmegaConf.update(cfg, "data.colours", 3, force_add=True)
    require_known(cfg)  # data sets take any
    with pytest.raises(UserError, match=r"^data\.colours: there is no such setting; did you mean data\.colors\?"):
        instantiate(cfg.data)


def test_a_bug_in_what_is_called_is_raised_as_it_is():
    with pytest.raises(TypeError, match="JSON object"):
        instantiate(part("json.loads", s=3))
