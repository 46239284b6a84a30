"""Fakes shared by the tests: a small policy with random weights and rollouts that follow a script."""

from __future__ import annotations

import importlib.util
import os
from copy import deepcopy
from functools import lru_cache, partial

os.environ["WANDB_MODE"] = "offline"  # also where the person who runs the tests has an API key
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

import loupe.runs.cli  # noqa: F401  (registers the resolvers that the configuration uses)
from loupe.data.scenes import SceneStyle, SignScene
from loupe.data.signs import Signs
from loupe.engine.dialogue import Dialogue
from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.engine.scripted import ScriptedRollout
from loupe.geometry import Frame
from loupe.models import tiny
from loupe.paths import CONF, PROJECT
from loupe.pretrain.teacher import Desk, Teacher
from loupe.records import Group, Prompt
from loupe.runs.config import instantiate
from loupe.tools.forms import FORMS
from loupe.tools.toolbox import Toolbox
from loupe.tools.zoom import ZoomTool

# Hydra composes a command's configuration once more, only to see whether a file makes it a sweep. None here does.
Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
# Small tensors gain nothing from a second thread, and threads that fight for cores slow a test down fiftyfold.
torch.set_num_threads(1)

OVERVIEW = 112
FRAME = Frame.of("shown", (8, 8), (8, 8))


def compose_config(*overrides: str, name: str = "train"):
    """conf/<name>.yaml with overrides, as the command line would compose it."""
    return deepcopy(_composed(name, overrides))


@lru_cache(maxsize=64)  # composing is most of what a small test takes
def _composed(name: str, overrides: tuple[str, ...]):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def splits_of(name: str, *overrides: str):
    """The splits of a data set, for settings such as ``data.n_val=3``; only the rest of the command is composed."""
    cfg = compose_config(f"data={name}", "model=tiny")
    for override in overrides:
        key, _, value = override.partition("=")
        OmegaConf.update(cfg, key, yaml.safe_load(value))
    return instantiate(cfg.data)


PROMPT = {key: compose_config().prompt[key] for key in ("system", "user", "observation", "earlier")}
INSTRUCTION = compose_config().tool.zoom.instruction
NO_TOOL = Toolbox()


def load_script(path: str):
    """A script of experiments/, as a module."""
    file = PROJECT / "experiments" / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_policy() -> Policy:
    """Read only: for tests that leave weights and gradients alone."""
    return Policy(*tiny.build(seed=0))


@pytest.fixture
def policy() -> Policy:
    return Policy(*tiny.build(seed=0))


def bare_group(example, *trajectories, frame: Frame = FRAME, images=()) -> Group:
    """A group whose prompt has no tokens."""
    return Group(example, Prompt([], list(images), None, (8, 8), frame), list(trajectories))


def zoom_tools(crop: int = 400, **settings) -> Toolbox:
    """The zoom tool by itself. settings: of the toolbox."""
    form = settings.get("call", "keypoint_yaml")
    return Toolbox(**settings, zoom=ZoomTool(crop, call=form, instruction=INSTRUCTION))


def zoom_call(keypoint: object) -> str:
    """What stands between the tags of a call."""
    return FORMS["keypoint_yaml"].write("zoom", {"keypoint": str(keypoint)})


def make_rollout(policy: Policy, cls=GroupRollout, max_calls: int = 1, tools=None, **options) -> GroupRollout:
    tools = tools or zoom_tools(max_calls=max_calls)
    dialogue = Dialogue(policy, OVERVIEW, tools, **PROMPT)
    return cls(policy, dialogue, **options)


def make_teacher(policy: Policy, **settings) -> Teacher:
    """settings: of the toolbox."""
    return Teacher(partial(Dialogue, policy, **PROMPT), zoom_tools(**settings))


@pytest.fixture
def teacher(shared_policy) -> Teacher:
    return make_teacher(shared_policy)


@pytest.fixture
def scene() -> SignScene:
    """Three signs: a small one, which is asked about, a large one and another small one."""
    scenes = (SignScene("test", 0, index, SceneStyle(n_signs=(3, 3))) for index in range(100))
    return next(scene for scene in scenes if [sign.size for sign in scene.signs] == ["small", "large", "small"])


@pytest.fixture
def desk(teacher, scene) -> Desk:
    return teacher.desk(scene, OVERVIEW, teacher.tool)


def examples(count: int, split: str = "train") -> list:
    signs = Signs(split=split, seed=0, size=count)
    return [signs[i] for i in range(count)]


def scripted(policy: Policy, script: list, count: int = 1, **options):
    """Groups of ``count`` questions whose trajectories follow ``script``."""
    rollout = make_rollout(policy, ScriptedRollout, script=script, **options)
    groups, skipped = rollout(examples(count), len(script), step=0)
    assert not skipped
    return groups


THINK = "<think>The text is small, zoom in.</think>\n"
ANSWER = "<think>I can read it.</think>\n<answer>472</answer>"


def call(keypoint: str) -> str:
    return f"{THINK}<tool>{zoom_call(keypoint)}</tool>"


MIXED = [
    [ANSWER],
    [call("[20, 40]"), ANSWER],
    [call("[100, 7]"), "<answer>1</answer>"],
    [call("[300, 20]"), ANSWER],
    [call("nonsense"), "<think>hm<|im_end|>"],
    [f"{THINK}<tool>\nname: zo<|im_end|>", ANSWER],
    [call("[5, 5]"), call("[6, 6]")],
    [call("[50, 50]") + "\n", ANSWER],
    [f"{THINK}<tool>\nname: z" + "oom " * 80],
]
"""One trajectory of each kind: no call, two successes, two failures, an unclosed call, a call too many, a closing tag
merged with a line break, and a call that is cut short inside its tag. Turns of up to 60 tokens."""
