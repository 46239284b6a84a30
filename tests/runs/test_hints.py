"""What is suggested in place of a setting that means nothing."""

import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from loupe.runs.hints import hint

CFG = compose_config()
ON_THE_HUB = ("hrbench_4k", "hrbench_8k", "refcoco", "textvqa", "vstar")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("trainer.maxsteps", "did you mean trainer.max_steps?"),
        ("modle", "did you mean model?"),
        ("modle.path", "did you mean model.path?"),
        ("algoritm.lr", "did you mean algorithm.optimizer.lr?"),
        ("algorithm.lr", "did you mean algorithm.optimizer.lr?"),
        ("optimizer.lr", "did you mean algorithm.optimizer.lr?"),
        ("lr", "did you mean algorithm.optimizer.lr?"),
        ("trainer.lr", "did you mean algorithm.optimizer.lr?"),
        ("max-steps", "did you mean trainer.max_steps?"),
        ("reward.tool", "did you mean reward.terms.tool or reward.weights.tool?"),
        ("reward.weights.tol", "did you mean reward.weights.tool?"),
        ("trainer.profiler", "to add it, write +trainer.profiler"),
        ("trainer.proflier", "did you mean +trainer.profiler?"),
        ("reward.weights.mine", "reward.weights has accuracy, soft, format, tool"),
        ("paths.foo", "paths has output_dir"),
        ("crop.x", "crop is a value, not a group of settings"),
        ("model.lora.r", "model.lora is empty; give it as a whole: model.lora='{r: ..}'"),
        ("rollout.canary_gap", "rollout.canary_gap belongs to rollout=vllm"),
        ("data.columns.image", "data.columns belongs to data=vqa"),  # its file sets more than the group
        ("data.hub", f"data.hub belongs to {', '.join(f'data={name}' for name in ON_THE_HUB)}"),  # one inherits it
        ("evaluate.split", "evaluate belongs to src/evaluate.py and src/mine.py"),
    ],
)
def test_what_was_meant(key, expected):
    assert hint(key, CFG) == expected


def test_an_argument_without_a_default_can_be_added_where_no_command_gives_it():
    cfg = CFG.copy()
    OmegaConf.update(cfg, "reward.terms.mine", {"_target_": "loupe.rewards.composite.Schedule"}, force_add=True)
    assert hint("reward.terms.mine.start", cfg) == "to add it, write +reward.terms.mine.start"
    assert "policy" not in hint("algorithm.policy", cfg)


def test_whatever_is_suggested_exists():
    """Also with the same name in several groups: those nearest to the top."""
    assert hint("batch_size", CFG) == "did you mean data.batch_size?"
    assert hint("tool.seed", CFG) == "did you mean seed?"


def test_what_makes_a_file_is_no_setting():
    assert "belongs to" not in hint("data.defaults", CFG) and "belongs to" not in hint("reward._target_", CFG)
