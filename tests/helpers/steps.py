"""A GRPO module that takes optimizer steps without a trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import make_rollout

from loupe.engine.policy import Policy
from loupe.grpo.losses import GRPO
from loupe.grpo.module import GRPOModule
from loupe.logs.reporter import Reporter
from loupe.records import Group
from loupe.rewards import terms
from loupe.rewards.composite import CompositeReward

REWARD = CompositeReward({"accuracy": terms.accuracy, "tool": terms.tool}, {"accuracy": 1.0, "tool": 0.5})


def make_module(policy: Policy, folder: Path, lr: float = 0.1, **options) -> GRPOModule:
    settings = {
        "rollout": make_rollout(policy, max_new_tokens=6),
        "reward": REWARD,
        "reporter": Reporter(),
        "loss": GRPO(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=lr),
        "total_steps": 10,
        "folder": folder,
        "warmup_steps": 0,
        "max_grad_norm": 1e9,
    }
    return GRPOModule(policy, **settings | options)


class Alone:
    """Stands in for the trainer, so that a module can take optimizer steps on its own."""

    def __init__(self, module: GRPOModule):
        made = module.configure_optimizers()
        self.optimizer, self.schedule = made["optimizer"], made["lr_scheduler"]
        module.optimizers = lambda: self
        module.lr_schedulers = lambda: self.schedule
        self.counted = 0

    def step(self) -> None:
        self.counted += 1
        self.optimizer.step()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def score(module: GRPOModule, groups: list[Group], step: int = 0) -> None:
    """Fill in rewards and advantages, as the training step does."""
    module.assign_rewards(groups, step)
    module.assign_advantages(groups, step)
