"""Advantage estimators: plain functions from the rewards of all groups to the advantages of their trajectories.

Rewards and advantages are float32 [P, G]: each row is a group, and P counts the groups of all ranks, in the same order
on each, so that an estimator may use the whole batch. ``algorithm.advantage._target_`` names one of these functions or
your own. A group whose rewards are all equal gets exactly 0 from all of them but :func:`no_baseline` and
:func:`accepted`.
"""

from collections.abc import Callable

import torch

from loupe.errors import UserError

Estimator = Callable[[torch.Tensor], torch.Tensor]
EPSILON = 1e-4


def group_std(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = (R_i - mean(R)) / (std(R) + 1e-4) within each group (GRPO).

    The standard deviation is the unbiased one (arXiv 2402.03300, eq. 3 of §4.1.2; the published code of arXiv
    2506.14821 uses the same).
    """
    return centered(rewards) / (rewards.std(dim=1, keepdim=True, correction=1) + EPSILON)


def group_mean(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = R_i - mean(R) (Dr. GRPO, arXiv 2503.20783)."""
    return centered(rewards)


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = R_i - mean of the other rewards of the group (RLOO, arXiv 2402.14740), which is G / (G - 1) times
    :func:`group_mean`.
    """
    size = rewards.shape[1]
    return centered(rewards) * (size / (size - 1))


def batch_std(rewards: torch.Tensor, of_rewards: bool = False) -> torch.Tensor:
    """A_i = (R_i - mean(R)) / (s + 1e-4) with the mean of the group and one s for the whole batch.

    s is the unbiased standard deviation of the centered rewards (REINFORCE++ with baseline, arXiv 2501.03262), or with
    ``of_rewards`` of the rewards, which differ between questions too (Lite PPO, arXiv 2508.08221).
    """
    advantages = centered(rewards)
    return advantages / ((rewards if of_rewards else advantages).std(correction=1) + EPSILON)


def rank(rewards: torch.Tensor) -> torch.Tensor:
    """The share of the others in its group that a trajectory beats, minus the share that beats it: from -1 to 1.

    It depends on the order of rewards alone, like the ranks of arXiv 1703.03864 §2.
    """
    return (rewards[:, :, None] - rewards[:, None]).sign().sum(dim=2) / (rewards.shape[1] - 1)


def no_baseline(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = R_i: REINFORCE without a baseline."""
    return rewards


def accepted(rewards: torch.Tensor, least: float = 1.0) -> torch.Tensor:
    """A_i = 1 where R_i is at least ``least``, else 0: all good answers are learned from alike, the others not at all
    (RAFT, arXiv 2304.06767; step by step as in arXiv 2504.11343).

    With ``reward=no_tool_bonus``, 1 takes the answers whose accuracy is 1; with ``iou``, every well-formed one.
    """
    return (rewards >= least).float()


def centered(rewards: torch.Tensor) -> torch.Tensor:
    """R_i - mean(R), and exactly 0 in a group of equal rewards, also where rounding would leave a trace."""
    same = (rewards == rewards[:, :1]).all(dim=1, keepdim=True)
    return (rewards - rewards.mean(dim=1, keepdim=True)).masked_fill(same, 0.0)


def checked_estimator(estimator: Estimator) -> Estimator:
    """``estimator``, after a trial on two small groups. Raises UserError if it cannot be an estimator."""
    setting = "algorithm.advantage"
    if not callable(estimator):
        raise UserError(f"{setting}={estimator}: name a function, {setting}._target_=loupe.grpo.advantages.group_std")
    rewards = torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    try:
        advantages = estimator(rewards.clone())
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(f"{setting}: {str(error).splitlines()[0]}; a function of rewards [P, G] is needed") from error
    shape = getattr(advantages, "shape", type(advantages).__name__)
    if shape != rewards.shape or not torch.isfinite(advantages).all():
        found = f"gives {shape}" if shape != rewards.shape else "gives numbers that are not finite"
        raise UserError(f"{setting}: {found} for rewards [2, 3]; it must give one finite advantage for each reward")
    return estimator
