import pytest
import torch

from loupe.errors import UserError
from loupe.grpo.advantages import group_advantages


def test_by_hand():
    """Rewards 0, 0, 1, 1: mean 0.5, unbiased standard deviation sqrt(1/3)."""
    got = group_advantages(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))[0].tolist()
    scale = (1 / 3) ** 0.5 + 1e-4
    assert got == pytest.approx([-0.5 / scale, -0.5 / scale, 0.5 / scale, 0.5 / scale])


def test_without_scaling():
    assert group_advantages(torch.tensor([[0.0, 3.0]]), scale="none").tolist() == [[-1.5, 1.5]]


def test_equal_rewards_give_exactly_zero_where_rounding_would_not():
    rewards = torch.tensor([[0.1] * 7, [0.7] * 7])
    assert (rewards - rewards.mean(dim=1, keepdim=True)).abs().max() > 0
    assert group_advantages(rewards).tolist() == [[0.0] * 7] * 2


def test_groups_do_not_mix():
    both = group_advantages(torch.tensor([[0.0, 1.0], [5.0, 9.0]]), scale="none")
    assert both.tolist() == [[-0.5, 0.5], [-2.0, 2.0]]


def test_unknown_scale():
    with pytest.raises(UserError, match="advantage_scale=range"):
        group_advantages(torch.zeros(1, 2), scale="range")
