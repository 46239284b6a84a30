import math
from collections import Counter

import pytest
import torch

from loupe.errors import UserError
from loupe.grpo.losses import DAPO, GRPO, GSPO, DrGRPO, importance_weights, mean_report

VARIANTS = [GRPO(), DrGRPO(), DAPO(), GSPO()]


def evaluate(loss, logp, old, advantages, lengths, ref=None, weights=None, entropies=None):
    logp, old = torch.tensor(logp, requires_grad=True), torch.tensor(old)
    lengths = torch.tensor(lengths, dtype=torch.float32)
    mask = (torch.arange(logp.shape[1]) < lengths[:, None]).float()
    weights = loss.token_weights(lengths) if weights is None else weights
    ref = None if ref is None else torch.tensor(ref)
    entropies = None if entropies is None else torch.tensor(entropies)
    value, report = loss(logp, old, ref, torch.tensor(advantages)[:, None], weights, mask, entropies)
    value.backward()
    return value.item(), logp.grad, {key: float(number) for key, number in report.items()}


@pytest.mark.parametrize("loss", VARIANTS, ids=lambda loss: type(loss).__name__)
def test_ratio_one_gives_the_policy_gradient(loss):
    """At r = 1 the loss is -sum(w A) and its gradient in each token's log-probability is -w A."""
    logp = [[-1.0, -2.0], [-0.5, 0.0]]
    value, grad, report = evaluate(loss, logp, logp, [2.0, -1.0], [2, 1])
    w = loss.token_weights(torch.tensor([2.0, 1.0])).tolist()
    assert value == pytest.approx(-(2 * w[0] * 2.0 - w[1] * 1.0))
    assert grad.tolist() == [pytest.approx([-2 * w[0]] * 2), pytest.approx([w[1], 0.0])]
    assert report["tokens"] == 3
    assert report["ratio"] == report["ratios"] == (2 if isinstance(loss, GSPO) else 3)


def test_weights_by_hand():
    lengths = torch.tensor([2.0, 6.0])
    assert GRPO().token_weights(lengths).tolist() == pytest.approx([1 / 4, 1 / 12])
    assert DrGRPO(max_tokens=10).token_weights(lengths).tolist() == pytest.approx([1 / 20, 1 / 20])
    assert DAPO().token_weights(lengths).tolist() == pytest.approx([1 / 8, 1 / 8])
    assert GSPO().token_weights(lengths).tolist() == pytest.approx([1 / 4, 1 / 12])


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "value", "moves"),
    [
        (math.log(1.5), 1.0, -1.3, False),  # above the upper clip and better than average: held
        (math.log(1.5), -1.0, 1.5, True),  # above, but worse than average: pushed back
        (math.log(0.5), -1.0, 0.8, False),  # below the lower clip and worse: held
        (math.log(0.5), 1.0, -0.5, True),  # below, but better: pulled back
    ],
)
def test_the_clip_acts_by_the_sign_of_the_advantage(log_ratio, advantage, value, moves):
    loss = GRPO(clip_low=0.2, clip_high=0.3)
    got, grad, report = evaluate(loss, [[-1.0 + log_ratio]], [[-1.0]], [advantage], [1])
    assert got == pytest.approx(value, rel=1e-5)
    assert bool(grad.item()) == moves
    assert report["clipped_low"] + report["clipped_high"] == (0 if moves else 1)


@pytest.mark.parametrize("loss", VARIANTS, ids=lambda loss: type(loss).__name__)
def test_masked_tokens_have_no_gradient(loss):
    _, grad, _ = evaluate(loss, [[-1.0, -9.0, -9.0], [-1.0, -2.0, -3.0]], [[-1.0, 0.0, 0.0]] * 2, [1.0, 1.0], [1, 3])
    assert grad[0, 1:].tolist() == [0, 0]
    assert grad[0, 0] != 0


@pytest.mark.parametrize("loss", [*VARIANTS, GRPO(beta=0.1), GSPO(beta=0.1)], ids=lambda loss: str(loss))
def test_micro_batches_add_up_to_one_batch(loss):
    torch.manual_seed(0)
    logp, old, ref = (-torch.rand(4, 5) for _ in range(3))
    advantages, lengths = [1.0, -0.5, 0.0, 2.0], [5, 2, 4, 1]
    weights = loss.token_weights(torch.tensor(lengths, dtype=torch.float32))

    def part(rows):
        chosen = [[tensor[row].tolist() for row in rows] for tensor in (logp, old, ref)]
        return evaluate(
            loss,
            chosen[0],
            chosen[1],
            [advantages[r] for r in rows],
            [lengths[r] for r in rows],
            chosen[2],
            weights[rows],
        )

    whole, first, second = part([0, 1, 2, 3]), part([0, 1]), part([2, 3])
    assert first[0] + second[0] == pytest.approx(whole[0])
    assert torch.allclose(torch.cat([first[1], second[1]]), whole[1])


def test_k3_by_hand():
    value, grad, report = evaluate(GRPO(beta=0.5), [[-1.0]], [[-1.0]], [0.0], [1], ref=[[-1.0 + math.log(2)]])
    assert report["kl"] == pytest.approx(2 - math.log(2) - 1)
    assert value == pytest.approx(0.5 * (1 - math.log(2)))
    assert grad.item() == pytest.approx(0.5 * (1 - 2))


def test_gspo_takes_one_ratio_a_trajectory():
    """Two tokens, log-ratios 0.2 and 0.0: both weigh exp(0.1)."""
    value, grad, _ = evaluate(GSPO(clip_low=0.5, clip_high=0.5), [[-0.8, -1.0]], [[-1.0, -1.0]], [1.0], [2])
    assert value == pytest.approx(-math.exp(0.1))
    assert grad[0].tolist() == pytest.approx([-math.exp(0.1) / 2] * 2)


def test_gspo_counts_a_ratio_once_whatever_the_length():
    """A trajectory of three tokens is above the clip, one of a single token is not: half of the ratios, not 3 of 4."""
    logp, old = [[-0.5, -0.5, -0.5], [-1.0, 0.0, 0.0]], [[-1.0] * 3] * 2
    _, _, by_trajectory = evaluate(GSPO(), logp, old, [1.0, 1.0], [3, 1])
    _, _, by_token = evaluate(GRPO(), logp, old, [1.0, 1.0], [3, 1])
    shares = [mean_report([Counter(report | {"loss": 0, "gap": 0})]) for report in (by_trajectory, by_token)]
    assert [share["clip/high_share"] for share in shares] == [0.5, 0.75]
    e = math.exp(0.5)
    assert [share["ratio/mean"] for share in shares] == pytest.approx([(e + 1) / 2, (3 * e + 1) / 4])


def test_entropy_by_hand():
    """Token weights of 1/4 and 1/2; the entropies 1 and 2, and 4, enter with a weight of 0.1."""
    loss = GRPO(entropy=0.1)
    logp = [[-1.0, -1.0], [-1.0, 0.0]]
    value, _, report = evaluate(loss, logp, logp, [0.0, 0.0], [2, 1], entropies=[[1.0, 2.0], [4.0, 99.0]])
    assert value == pytest.approx(-0.1 * (1 / 4 + 2 / 4 + 4 / 2))
    assert report["entropy"] == 7
    assert loss.regularized and GRPO(beta=0.1).regularized and not GRPO().regularized


def test_truncated_importance_by_hand():
    """Ratios of 1.5 and 3, capped at 2; the padding counts for nothing."""
    old = torch.tensor([[math.log(1.5), math.log(3), 5.0]])
    weights, report = importance_weights(old, torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]), cap=2.0)
    assert weights[0, :2].tolist() == pytest.approx([1.5, 2.0])
    assert (report["importance"].item(), report["truncated"].item()) == (pytest.approx(3.5), 1)


def test_weighted_tokens_keep_their_clip():
    """An advantage per token: the weight scales the loss and its gradient, and the clip acts as without it."""
    logp, old = [[-1.0 + math.log(1.5), -1.0]], [[-1.0, -1.0]]
    plain, _, report = evaluate(GRPO(), logp, old, [1.0], [2])
    mask = torch.ones(1, 2)
    leaf = torch.tensor(logp, requires_grad=True)
    value, weighted = GRPO()(leaf, torch.tensor(old), None, torch.tensor([[2.0, 0.5]]), torch.tensor([0.5]), mask)
    value.backward()
    assert (plain, value.item()) == (pytest.approx(-(1.2 + 1) / 2), pytest.approx(-(2 * 1.2 + 0.5) / 2))
    assert leaf.grad[0].tolist() == pytest.approx([0.0, -0.25])
    assert weighted["clipped_high"] == report["clipped_high"] == 1


@pytest.mark.parametrize("setting", ["clip_low", "clip_high", "beta", "entropy"])
def test_negative_settings_are_refused(setting):
    with pytest.raises(UserError, match=f"algorithm.loss.{setting}=-1"):
        GRPO(**{setting: -1})
