import pytest
import torch

from loupe.errors import UserError
from loupe.grpo import advantages
from loupe.grpo.advantages import (
    accepted,
    batch_std,
    checked_estimator,
    group_mean,
    group_std,
    leave_one_out,
    no_baseline,
    rank,
)

CENTERED = [group_std, group_mean, leave_one_out, batch_std, rank]


def test_by_hand():
    """Rewards 0, 0, 1, 1: mean 0.5, unbiased standard deviation sqrt(1/3)."""
    got = group_std(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))[0].tolist()
    scale = (1 / 3) ** 0.5 + 1e-4
    assert got == pytest.approx([-0.5 / scale, -0.5 / scale, 0.5 / scale, 0.5 / scale])


def test_without_scaling():
    assert group_mean(torch.tensor([[0.0, 3.0]])).tolist() == [[-1.5, 1.5]]


def test_without_a_baseline():
    assert no_baseline(torch.tensor([[0.0, 3.0], [2.0, 2.0]])).tolist() == [[0.0, 3.0], [2.0, 2.0]]


def test_good_answers_are_accepted_all_alike():
    rewards = torch.tensor([[0.0, 0.65, 1.0], [1.1, 1.1, 1.1]])
    assert accepted(rewards).tolist() == [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert accepted(rewards, least=0.5).tolist() == [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


def test_leave_one_out_subtracts_the_mean_of_the_others():
    """Of 0, 1 and 5 the others average 3, 2.5 and 0.5."""
    assert leave_one_out(torch.tensor([[0.0, 1.0, 5.0]]))[0].tolist() == pytest.approx([-3.0, -1.5, 4.5])


def test_one_standard_deviation_for_the_batch():
    """Centered: -1, 1, -2, 2, whose squares add up to 10; the rewards 0, 2, 6, 10 have mean 4.5 and squares of 59."""
    rewards = torch.tensor([[0.0, 2.0], [6.0, 10.0]])
    within, overall = (10 / 3) ** 0.5 + 1e-4, (59 / 3) ** 0.5 + 1e-4
    assert batch_std(rewards).flatten().tolist() == pytest.approx([-1 / within, 1 / within, -2 / within, 2 / within])
    got = batch_std(rewards, of_rewards=True).flatten().tolist()
    assert got == pytest.approx([-1 / overall, 1 / overall, -2 / overall, 2 / overall])


def test_ranks_depend_on_the_order_alone():
    """The first beats two of three others, the second beats none, the last two are level and beat one."""
    rewards = torch.tensor([[9.0, 0.1, 0.2, 0.2]])
    assert rank(rewards)[0].tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])
    assert torch.equal(rank(rewards), rank(rewards**3))


@pytest.mark.parametrize("estimator", CENTERED)
def test_equal_rewards_give_exactly_zero_where_rounding_would_not(estimator):
    rewards = torch.tensor([[0.1] * 7, [0.7] * 7, [0.0, 1.0] * 3 + [0.5]])
    assert (rewards - rewards.mean(dim=1, keepdim=True))[:2].abs().max() > 0
    got = estimator(rewards)
    assert got[:2].tolist() == [[0.0] * 7] * 2
    assert got[2, 0] < 0 < got[2, 1]


@pytest.mark.parametrize("estimator", [group_std, group_mean, leave_one_out, rank])
def test_groups_do_not_mix(estimator):
    """To the last bit, so that results do not depend on the number of ranks."""
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(estimator(rewards), torch.cat([estimator(row[None]) for row in rewards]))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ("group_std", r"algorithm\.advantage=group_std: name a function"),
        (None, r"algorithm\.advantage=None: name a function"),
        (lambda rewards: rewards.mean(dim=1), r"gives torch\.Size\(\[2\]\) for rewards \[2, 3\]"),
        (lambda rewards: rewards.tolist(), r"gives list for rewards \[2, 3\]"),
        (lambda rewards: rewards / 0, r"gives numbers that are not finite"),
        (lambda rewards, prompts: rewards, r"missing 1 required positional argument.*; a function of rewards \[P, G\]"),
    ],
)
def test_what_is_no_estimator(estimator, message):
    with pytest.raises(UserError, match=message):
        checked_estimator(estimator)


def test_every_estimator_passes():
    for estimator in (*CENTERED, no_baseline):
        assert checked_estimator(estimator) is estimator is getattr(advantages, estimator.__name__)
