"""The policy loss as a pure function of log-probabilities, and its variants.

All tensors are [R, T]: R trajectories, T sampled tokens, padded on the right; ``mask`` is 1 on real tokens. With
r the importance ratio exp(logp - old), A the advantage, c the clip range and w a weight per token:

    loss = sum w * ( -min(r A, clip(r, 1 - c_low, 1 + c_high) A) + beta * k3 )
    k3   = exp(ref - logp) - (ref - logp) - 1          (unbiased, >= 0; arXiv 2402.03300 eq. 4)

A variant defines ``w`` and the level at which ``r`` is taken. The weights are fixed for the whole batch before it is
split into micro-batches, so the micro-batches add up to exactly the loss of one batch; trajectories with an advantage
of zero stay in the denominators.
"""

from collections import Counter
from dataclasses import dataclass

import torch

from loupe.errors import UserError, require_int, require_number


@dataclass(frozen=True)
class GRPO:
    """GRPO (arXiv 2402.03300): mean over trajectories of the mean over their tokens, w = 1 / (R |o_i|).

    clip_low, clip_high: equal values give PPO's clip, a larger clip_high DAPO's "clip higher".
    beta: weight of the KL term; 0 needs no reference model.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.0

    def __post_init__(self):
        for name in ("clip_low", "clip_high", "beta"):
            require_number(f"algorithm.loss.{name}", getattr(self, name), 0, 10**6)
        if self.clip_low >= 1:
            raise UserError(f"algorithm.loss.clip_low={self.clip_low}: must be below 1, because ratios are positive")

    def token_weights(self, lengths: torch.Tensor) -> torch.Tensor:
        """The weight of one token of each trajectory, for the sampled lengths [R] of the whole batch."""
        return 1 / (len(lengths) * lengths)

    def log_ratio(self, logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """log r for each token [R, T]; 0 where the mask is 0."""
        return (logp - old) * mask

    def __call__(self, logp, old, ref, advantages, weights, mask) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The summed loss of these trajectories, and metrics summed over tokens.

        logp, old, ref, mask: [R, T]; ref is used only with a ``beta``. advantages, weights: [R].
        """
        advantages = advantages[:, None]
        ratio = self.log_ratio(logp, old, mask).exp()
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        loss = -torch.minimum(ratio * advantages, clipped * advantages)
        report = {
            "tokens": mask.sum(),
            "ratio": (ratio * mask).sum(),
            "clipped_low": ((ratio < 1 - self.clip_low) & (advantages < 0)).mul(mask).sum(),
            "clipped_high": ((ratio > 1 + self.clip_high) & (advantages > 0)).mul(mask).sum(),
        }
        if self.beta:
            gap = (ref - logp) * mask
            k3 = gap.exp() - gap - 1
            loss = loss + self.beta * k3
            report["kl"] = k3.sum()
        return (loss * mask * weights[:, None]).sum(), {k: v.detach() for k, v in report.items()}


@dataclass(frozen=True)
class DrGRPO(GRPO):
    """Dr. GRPO (arXiv 2503.20783): w = 1 / (R * max_tokens), free of the length bias of dividing by |o_i|.

    Use it with ``advantages.group_mean``. max_tokens: a constant scale, the largest length of a turn.
    """

    max_tokens: int = 128

    def __post_init__(self):
        super().__post_init__()
        require_int("algorithm.loss.max_tokens", self.max_tokens, 1)

    def token_weights(self, lengths: torch.Tensor) -> torch.Tensor:
        return torch.full_like(lengths, 1 / (len(lengths) * self.max_tokens), dtype=torch.float32)


@dataclass(frozen=True)
class DAPO(GRPO):
    """DAPO (arXiv 2503.14476): every token of the batch has the same weight, w = 1 / sum |o_j|, and clip higher.

    Not implemented: dynamic sampling (drawing further groups until none has zero variance).
    """

    clip_high: float = 0.28

    def token_weights(self, lengths: torch.Tensor) -> torch.Tensor:
        return (1 / lengths.sum()).expand(len(lengths))


@dataclass(frozen=True)
class GSPO(GRPO):
    """GSPO (arXiv 2507.18071): one ratio per trajectory, s_i = exp(mean_t (logp - old)), clipped as a whole.

    Not implemented: the token-level variant GSPO-token.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def log_ratio(self, logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        mean = ((logp - old) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return mean.expand_as(logp) * mask


def mean_report(epochs: list[Counter]) -> dict[str, float]:
    """From sums to means: the loss over inner epochs, all else over the tokens that had a gradient, if any."""
    totals: Counter = Counter()
    for sums in epochs:
        totals.update(sums)
    report = {"loss": totals["loss"] / len(epochs)}
    if tokens := totals["tokens"]:
        names = {"ratio/mean": "ratio", "clip/low_share": "clipped_low", "clip/high_share": "clipped_high", "kl": "kl"}
        report |= {name: totals[key] / tokens for name, key in names.items() if key in totals}
        # Before the first step the update's log-probabilities differ from the rollout's by rounding alone.
        report["ratio/logprob_gap"] = epochs[0]["gap"] / epochs[0]["tokens"]
    return report
