"""The bases that come with the project have the skills that their skills.json state, and choose badly when to zoom."""

import json
from pathlib import Path

import pytest
from conftest import compose_config

from loupe.metrics.rows import answer_rows
from loupe.metrics.summary import summarize
from loupe.paths import package_path
from loupe.runs.build import build_rollout
from loupe.runs.config import instantiate
from pretrain import build_module

BASE = Path(package_path("models/miniature"))
BOXES = Path(package_path("models/miniature_boxes"))
N = 64


@pytest.fixture(scope="module")
def stated():
    return json.loads((BASE / "skills.json").read_text())


@pytest.fixture(scope="module")
def measured():
    overrides = ["model=tiny", "data.heldout_seed=3", f"data.n_val={N}"]  # other scenes than those of skills.json
    return build_module(compose_config(*overrides, name="pretrain")).measure()


@pytest.mark.slow
def test_the_stated_skills_hold_on_other_scenes(stated, measured):
    assert stated.keys() == measured.keys()
    for name in ("reading", "direct_small", "direct_large", "pointing_small", "pointing_large", "greedy/sizes_named"):
        assert measured[name] == pytest.approx(stated[name], abs=0.2), name


def test_the_base_reads_and_points(stated):
    assert stated["reading"] > 0.75 and stated["direct_large"] > 0.75 and stated["direct_small"] < 0.05
    assert min(stated["pointing_small"], stated["pointing_large"], stated["greedy/sizes_named"]) > 0.9


def test_the_base_zooms_as_often_on_large_signs_as_on_small_ones(stated):
    small, large = (stated[f"sampled/zoom_rate/{size}"] for size in ("small", "large"))
    assert abs(small - large) <= 0.1
    assert 0.35 <= large <= 0.65 and 0.35 <= small <= 0.65
    assert 0.1 < stated["sampled/failed_call_rate/all"] < 0.2


def test_training_starts_from_it():
    policy = instantiate(compose_config().model)
    assert sum(p.numel() for p in policy.parameters()) == pytest.approx(1.6e6, rel=0.05)
    assert compose_config().model.path == str(BASE)


def test_the_base_for_boxes_is_careless():
    stated = json.loads((BOXES / "skills.json").read_text())
    assert 0.3 < stated["greedy/iou/all"] < 0.5
    assert stated["sampled/well_formed"] < 0.9  # so that there is a form to learn, too
    assert 0.2 < stated["sampled/zoom_rate/all"] < 0.6  # asked with the tool
    cfg = compose_config("data=boxes", "tool=none", "data.heldout_seed=3", f"data.n_val={N}")
    assert cfg.model.path == str(BOXES)
    policy = instantiate(cfg.model, trainable=False)
    rollout = build_rollout(cfg, policy, instantiate(cfg.tool))
    groups, _ = rollout(list(instantiate(cfg.data).val), 1, 0, greedy=True)
    summary = summarize(answer_rows(groups, "greedy", policy.factor, policy.merge))
    assert summary["iou"]["all"] == pytest.approx(stated["greedy/iou/all"], abs=0.1)
