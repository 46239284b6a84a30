import math

import pytest
import torch
from conftest import ANSWER, call, scripted
from PIL import Image

from loupe.engine.policy import entropy


def test_patches_are_those_of_the_image_processor(shared_policy):
    patches = shared_policy.patches(Image.new("RGB", (112, 84), (255, 0, 0)))
    assert patches.grid == (1, 6, 8)
    assert patches.pixels.shape == (48, 3 * 2 * 14 * 14)
    assert patches.tokens(shared_policy.merge) == 12


def test_a_picture_off_the_grid_is_a_bug(shared_policy):
    with pytest.raises(ValueError, match="100x84 is not on the grid of 28"):
        shared_policy.patches(Image.new("RGB", (100, 84)))


def test_entropy_by_hand():
    logp = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    assert entropy(logp).tolist() == pytest.approx([math.log(2), 0.0])


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_neither_logprobs_nor_gradients(policy, chunk):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 128, generator=generator, requires_grad=True)
    tokens = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    expected = policy.log_distribution(states, 0.7).gather(1, tokens[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(expected.sum(), states)
    policy.logits_chunk = chunk
    (got,) = policy.token_scores(states, tokens, 0.7)
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(got.sum(), states)[0], gradient, atol=1e-5)


@pytest.mark.parametrize("chunk", [3, 100])
def test_entropies_and_their_gradients(policy, chunk):
    """Against -sum p log p over the tokens that are not banned."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 128, generator=generator, requires_grad=True)
    allowed = [i for i in range(len(policy.ban)) if i not in policy.banned]
    p = torch.softmax(policy.backbone.lm_head(states)[:, allowed] / 0.7, dim=-1)
    expected = -(p * p.log()).sum(-1)
    (gradient,) = torch.autograd.grad(expected.sum(), states)
    policy.logits_chunk = chunk
    _, got = policy.token_scores(states, torch.arange(7), 0.7, entropies=True)
    assert torch.allclose(got, expected, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(got.sum(), states)[0], gradient, atol=1e-5) and gradient.abs().max() > 0


def test_the_distribution_is_normalized_without_the_banned_tokens(shared_policy):
    logp = shared_policy.log_distribution(torch.randn(2, 128, generator=torch.Generator().manual_seed(0)), 1.0)
    assert logp.exp().sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert torch.isneginf(logp[:, sorted(shared_policy.banned)]).all()


def test_a_frozen_copy_does_not_follow_its_policy(policy):
    copy = policy.frozen_copy()
    groups = scripted(copy, [[call("[20, 40]"), ANSWER]], max_new_tokens=60)
    with torch.no_grad():
        policy.backbone.lm_head.weight.add_(1.0)
    again = scripted(copy, [[call("[20, 40]"), ANSWER]], max_new_tokens=60)
    assert groups[0].trajectories[0].logprobs == again[0].trajectories[0].logprobs
    assert not any(parameter.requires_grad for parameter in copy.parameters())
