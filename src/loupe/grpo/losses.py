"""The policy loss as a pure function of log-probabilities, and its variants.

All tensors are [R, T]: R trajectories, T sampled tokens, padded on the right; ``mask`` is 1 on real tokens. With
r the importance ratio exp(logp - old), A the advantage, c the clip range, H the entropy of the distribution over the
token, and w a weight per token:

    loss = sum w * ( -min(r A, clip(r, 1 - c_low, 1 + c_high) A) + beta * k3 - entropy * H )
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
    beta: weight of the KL term; 0 needs no reference model. entropy: weight of the entropy bonus, as in PPO (arXiv
    1707.06347, eq. 9); 0 computes no entropies.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    beta: float = 0.0
    entropy: float = 0.0

    def __post_init__(self):
        for name in ("clip_low", "clip_high", "beta", "entropy"):
            require_number(f"algorithm.loss.{name}", getattr(self, name), 0, 10**6)
        if self.clip_low >= 1:
            raise UserError(f"algorithm.loss.clip_low={self.clip_low}: must be below 1, because ratios are positive")

    @property
    def regularized(self) -> bool:
        """Whether trajectories of zero advantage have a gradient too."""
        return bool(self.beta or self.entropy)

    def token_weights(self, lengths: torch.Tensor) -> torch.Tensor:
        """The weight of one token of each trajectory, for the sampled lengths [R] of the whole batch."""
        return 1 / (len(lengths) * lengths)

    def log_ratio(self, logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """log r for each token [R, T]; 0 where the mask is 0."""
        return (logp - old) * mask

    def ratios(self, mask: torch.Tensor) -> torch.Tensor:
        """1 on each token [R, T] at which a ratio is counted: every token has its own."""
        return mask

    def __call__(
        self, logp, old, ref, advantages, weights, mask, entropies=None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The summed loss of these trajectories, and metrics summed over tokens.

        logp, old, ref, mask, entropies: [R, T]; ref is used only with a ``beta``, entropies only with an ``entropy``.
        advantages: [R, 1], or [R, T] for tokens with weights of their own (:func:`importance_weights`). weights: [R].
        """
        counted = self.ratios(mask)
        ratio = self.log_ratio(logp, old, mask).exp()
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        loss = -torch.minimum(ratio * advantages, clipped * advantages)
        report = {
            "tokens": mask.sum(),
            "ratios": counted.sum(),
            "ratio": (ratio * counted).sum(),
            "clipped_low": ((ratio < 1 - self.clip_low) & (advantages < 0)).mul(counted).sum(),
            "clipped_high": ((ratio > 1 + self.clip_high) & (advantages > 0)).mul(counted).sum(),
        }
        if self.beta:
            gap = (ref - logp) * mask
            k3 = gap.exp() - gap - 1
            loss = loss + self.beta * k3
            report["kl"] = k3.sum()
        if self.entropy:
            loss = loss - self.entropy * entropies
            report["entropy"] = (entropies * mask).sum()
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

    Its dynamic sampling is ``GRPOModule``'s max_draws, its overlong shaping the reward term ``terms.Overlong``.
    """

    clip_high: float = 0.28

    def token_weights(self, lengths: torch.Tensor) -> torch.Tensor:
        return (1 / lengths.sum()).expand(len(lengths))


@dataclass(frozen=True)
class GSPO(GRPO):
    """GSPO (arXiv 2507.18071): one ratio per trajectory, s_i = exp(mean_t (logp - old)), clipped as a whole.

    The metrics count each ratio once, as TRL's do, however many tokens share it.

    Not implemented: the token-level variant GSPO-token.
    """

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def log_ratio(self, logp: torch.Tensor, old: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        mean = ((logp - old) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        return mean.expand_as(logp) * mask

    def ratios(self, mask: torch.Tensor) -> torch.Tensor:
        """1 on the first token of each trajectory."""
        return mask * (torch.arange(mask.shape[1], device=mask.device) == 0)


def importance_weights(old, sampled, mask, cap: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Truncated importance sampling: min(exp(old - sampled), cap) for each token [R, T], a factor of its advantage.

    It corrects for tokens that were drawn from a distribution (log-probabilities ``sampled``) which differs by rounding
    from the one that the update computes (``old``). Metrics are summed over tokens. Source: Yao et al. 2025, "Your
    Efficient RL Framework Secretly Brings You Off-Policy RL Training" (OpenReview 8MHqvb4lK9).
    """
    ratio = (old - sampled).exp()
    weights = ratio.clamp(max=cap)
    return weights, {"importance": (weights * mask).sum(), "truncated": (ratio > cap).mul(mask).sum()}


RATIO_METRICS = {"ratio/mean": "ratio", "clip/low_share": "clipped_low", "clip/high_share": "clipped_high"}
TOKEN_METRICS = {
    "kl": "kl",
    "update/entropy": "entropy",
    "importance/mean": "importance",
    "importance/truncated_share": "truncated",
}


def mean_report(epochs: list[Counter]) -> dict[str, float]:
    """From sums to means: the loss over inner epochs, all else over the tokens that had a gradient, if any; for the
    ratio and the clip over ratios, of which there may be one per trajectory.
    """
    totals: Counter = Counter()
    for sums in epochs:
        totals.update(sums)
    report = {"loss": totals["loss"] / len(epochs)}
    if tokens := totals["tokens"]:
        report |= {name: totals[key] / totals["ratios"] for name, key in RATIO_METRICS.items()}
        report |= {name: totals[key] / tokens for name, key in TOKEN_METRICS.items() if key in totals}
        # Before the first step the update's log-probabilities differ from the rollout's by rounding alone.
        report["ratio/logprob_gap"] = epochs[0]["gap"] / epochs[0]["tokens"]
    return report
