"""Decoding in fixed shapes gives what decoding in exact shapes gives; here without a GPU, operation by operation."""

import pytest
import torch
from conftest import MIXED, examples, make_rollout, scripted
from helpers.compare import assert_close

from loupe.engine import fixed
from loupe.errors import UserError


def assert_equal_groups(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        for trajectory, other in zip(ours.trajectories, theirs.trajectories, strict=True):
            assert (trajectory.ids, trajectory.stop) == (other.ids, other.stop)
            assert_close(trajectory.sampled_logprobs, torch.tensor(other.sampled_logprobs), atol=1e-5)


def test_every_kind_of_trajectory_is_the_same(shared_policy):
    settings = {"count": 3, "max_new_tokens": 60}
    expected = scripted(shared_policy, MIXED, **settings)
    assert_equal_groups(scripted(shared_policy, MIXED, fixed_shapes=True, **settings), expected)


@pytest.mark.parametrize("columns", [2, 64])
def test_samples_are_the_same_in_batches_of_several_shapes(shared_policy, monkeypatch, columns):
    """With few columns, the branches move to larger buffers within a turn."""
    monkeypatch.setattr(fixed, "FEWEST_COLUMNS", columns)
    rollout = make_rollout(shared_policy, max_new_tokens=12, seed=3, prompts_per_batch=2)
    expected, _ = rollout(examples(5), 3, step=1)
    rollout = make_rollout(shared_policy, max_new_tokens=12, seed=3, prompts_per_batch=2, fixed_shapes=True)
    rollout.decoder.steps.most = 1
    assert_equal_groups(rollout(examples(5), 3, step=1)[0], expected)
    assert len(rollout.decoder.steps.steps) == 1


def test_a_step_stays_where_it_is(shared_policy, monkeypatch):
    """A CUDA graph reads and writes the tensors that it was recorded with."""
    seen, run = {}, fixed.FixedStep._compute

    def watched(step):
        states = run(step)
        tensors = [
            step.inputs,
            step.bias,
            *(t for layers in (step.prefix, step.own.layers) for kv in layers for t in kv),
        ]
        seen.setdefault(step.shape, set()).add(tuple(tensor.data_ptr() for tensor in tensors))
        return states

    monkeypatch.setattr(fixed.FixedStep, "_compute", watched)
    rollout = make_rollout(shared_policy, max_new_tokens=6, fixed_shapes=True)
    for step in range(2):
        rollout(examples(2), 2, step)
    assert [len(addresses) for addresses in seen.values()] == [1]


def test_each_precision_has_a_step_of_its_own(shared_policy):
    """A CUDA graph goes on computing in the precision that it was recorded in."""
    rollout = make_rollout(shared_policy, max_new_tokens=3, fixed_shapes=True)
    rollout(examples(2), 2, step=0)
    with torch.autocast("cpu", torch.bfloat16):
        rollout(examples(2), 2, step=0)
    (shape, plain), (other, low) = rollout.decoder.steps.steps
    assert (shape, plain, low) == (other, None, torch.bfloat16)


def test_weights_that_have_moved_are_read_where_they_are(policy):
    """A CUDA graph would go on reading the memory that they have left."""
    rollout = make_rollout(policy, max_new_tokens=3, fixed_shapes=True)
    rollout(examples(2), 2, step=0)
    (first,) = rollout.decoder.steps.steps.values()
    rollout(examples(2), 2, step=0)
    assert list(rollout.decoder.steps.steps.values()) == [first]
    weight = next(policy.parameters())
    weight.data = weight.data.clone()
    rollout(examples(2), 2, step=0)
    assert first not in rollout.decoder.steps.steps.values()


def test_other_values_are_refused(shared_policy):
    with pytest.raises(UserError, match=r"rollout\.fixed_shapes=yes: must be one of auto, true, false"):
        make_rollout(shared_policy, fixed_shapes="yes")
