"""Advantages within a group."""

import torch

from loupe.errors import require_choice

SCALES = ("std", "none")
EPSILON = 1e-4


def group_advantages(rewards: torch.Tensor, scale: str = "std") -> torch.Tensor:
    """A_i = (R_i - mean(R)) / (std(R) + 1e-4), where each row of ``rewards`` [P, G] is a group.

    The standard deviation is the unbiased one (arXiv 2402.03300, eq. 3 of §4.1.2; the published code of arXiv
    2506.14821 uses the same). scale="none" leaves out the division (Dr. GRPO, arXiv 2503.20783). A group whose rewards
    are all equal gets exactly 0, also where rounding would leave a trace.
    """
    require_choice("algorithm.advantage_scale", scale, SCALES)
    centered = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "std" and rewards.shape[1] > 1:
        centered = centered / (rewards.std(dim=1, keepdim=True, correction=1) + EPSILON)
    same = (rewards == rewards[:, :1]).all(dim=1, keepdim=True)
    return centered.masked_fill(same, 0.0)
