"""A policy without its adapter, and as it was when its training began: the reference of a KL term."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from loupe.engine.policy import Policy


def remember_adapter(policy: Policy) -> None:
    """Let :func:`as_reference` be the policy with the adapter that it has now, not the one without."""
    policy.starting_adapter = {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad}


@contextmanager
def as_reference(policy: Policy) -> Iterator[None]:
    """Within it a policy with an adapter is the one that its training began with, at little cost in memory.

    That is the base for a new adapter, and the remembered one for an adapter that was loaded.
    """
    if not policy.starting_adapter:
        with adapter_off(policy):
            yield
        return
    present = {name: p.data for name, p in policy.named_parameters() if name in policy.starting_adapter}
    try:
        _put(policy, policy.starting_adapter)
        yield
    finally:
        _put(policy, present)


@contextmanager
def adapter_off(policy: Policy) -> Iterator[None]:
    """Within it the policy is the one without its adapter. peft would train all of the adapter from then on, so what is
    frozen is frozen again.
    """
    required = [(parameter, parameter.requires_grad) for parameter in policy.parameters()]
    try:
        with policy.model.disable_adapter():
            yield
    finally:
        for parameter, trained in required:
            parameter.requires_grad_(trained)


def _put(policy: Policy, weights: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in policy.named_parameters():
        if name in weights:
            parameter.data = weights[name].to(parameter.device)
    torch.clear_autocast_cache()  # it holds low-precision copies of the weights before
