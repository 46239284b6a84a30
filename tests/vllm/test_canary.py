import pytest
import torch
from conftest import examples, make_rollout
from helpers.engines import DeafEngine, FakeEngine, ForgetfulEngine

from loupe.vllm.canary import MismatchError
from loupe.vllm.rollout import VllmRollout


def after_a_step(policy, engine, **options):
    """Answer a question, change the weights a little, and answer it again."""
    rollout = make_rollout(policy, VllmRollout, max_new_tokens=4, **options)
    rollout.decoder.start = lambda: engine(policy)
    rollout(examples(1), 2, step=0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    rollout.decoder.refresh()
    return rollout(examples(1), 2, step=0)


def test_an_engine_that_keeps_up_goes_on(policy):
    groups, _ = after_a_step(policy, FakeEngine)
    assert len(groups[0].trajectories) == 2


@pytest.mark.parametrize(
    ("engine", "cause"),
    [
        (ForgetfulEngine, r"it kept keys, values or features of pictures that were computed with earlier weights"),
        (DeafEngine, r"it has not taken over the weights"),
    ],
)
def test_an_engine_that_does_not_is_stopped_and_the_cause_is_named(policy, engine, cause):
    with pytest.raises(MismatchError, match=rf"{cause}.* rollout\.canary_gap allows 5e-05\); use rollout=packed"):
        after_a_step(policy, engine)


def test_the_gap_that_is_allowed_can_be_set(policy):
    after_a_step(policy, DeafEngine, canary_gap=100.0)
