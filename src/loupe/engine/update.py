"""The gradient of a batch of groups, with each prefix computed once.

    1. Encode the prefixes with gradient.
    2. Detach their keys, values and last states as leaves.
    3. Run the branches after them in micro-batches; each backward pass adds to the gradients of parameters and leaves.
    4. Back-propagate the gradients of the leaves through the prefixes once.

The result equals back-propagating through every trajectory alone (tests/engine/test_update.py), but needs only the
memory of the prefixes and of one micro-batch.
"""

from collections.abc import Callable, Iterator
from itertools import compress

import torch
from torch.nn.utils.rnn import pad_sequence

from loupe.engine.layout import Prefixes
from loupe.engine.policy import Policy
from loupe.records import Group, Trajectory

Branches = list[tuple[int, Trajectory]]
"""The trajectories of a micro-batch, each with the row of its prefix."""


def backward(
    policy: Policy,
    groups: list[Group],
    loss_of: Callable[..., torch.Tensor],
    temperature: float,
    token_budget: int,
    entropies: bool = False,
) -> None:
    """Accumulate the gradient of the sum of ``loss_of(trajectories, logp, mask)`` over micro-batches.

    logp and mask are [R, T] over the sampled tokens of the micro-batch; with ``entropies``, the entropies [R, T] of the
    distributions that they are sampled from follow as a fourth argument. Groups without trajectories cost nothing.
    token_budget: tokens per chunk of prefixes and per micro-batch, padding included; single trajectories may exceed it.
    """
    for chunk in chunks(groups, token_budget):
        _backward_chunk(policy, chunk, loss_of, temperature, token_budget, entropies)


def _backward_chunk(
    policy: Policy, chunk: list[Group], loss_of: Callable, temperature: float, budget: int, entropies: bool
) -> None:
    """A separate function, so that the tensors of one chunk are freed before the next one is computed."""
    prefixes = policy.encode_prompts([group.prompt for group in chunk])
    roots = prefixes.tensors()
    # With an adapter on some layers only, the first keys and values do not depend on trained weights.
    leaves = [root.detach().requires_grad_(root.requires_grad) for root in roots]
    for branches in micro_batches(chunk, budget):
        scores = _branch_scores(policy, prefixes.with_tensors(leaves), branches, temperature, entropies)
        loss_of([trajectory for _, trajectory in branches], *scores).backward()
    used = [(root, leaf.grad) for root, leaf in zip(roots, leaves, strict=True) if leaf.grad is not None]
    if used:
        tensors, gradients = zip(*used, strict=True)
        torch.autograd.backward(tensors, gradients)


def logprobs(
    policy: Policy, groups: list[Group], temperature: float, token_budget: int
) -> Iterator[tuple[Trajectory, list[float]]]:
    """The log-probability of every sampled token of every trajectory under ``policy``."""
    for trajectory, (logp,) in scores(policy, groups, temperature, token_budget):
        yield trajectory, logp


@torch.no_grad()
def scores(
    policy: Policy, groups: list[Group], temperature: float, token_budget: int, entropies: bool = False
) -> Iterator[tuple[Trajectory, list[list[float]]]]:
    """For every trajectory its log-probabilities and, if asked for, the entropies before its sampled tokens."""
    for chunk in chunks(groups, token_budget):
        prefixes = policy.encode_prompts([group.prompt for group in chunk])
        for branches in micro_batches(chunk, token_budget):
            logp, _, *more = _branch_scores(policy, prefixes, branches, temperature, entropies)
            rows = zip(*(column.tolist() for column in (logp, *more)), strict=True)
            for (_, trajectory), found in zip(branches, rows, strict=True):
                yield trajectory, [row[: trajectory.n_sampled] for row in found]


def chunks(groups: list[Group], token_budget: int) -> Iterator[list[Group]]:
    """Groups whose prefixes, each with one branch, together fit into the budget (at least one group)."""
    chunk: list[Group] = []
    longest = 0
    for group in groups:
        if not group.trajectories:
            continue
        needed = len(group.prompt.ids) + max(len(trajectory.ids) for trajectory in group.trajectories)
        if chunk and max(longest, needed) * (len(chunk) + 1) > token_budget:
            yield chunk
            chunk, longest = [], 0
        chunk, longest = [*chunk, group], max(longest, needed)
    if chunk:
        yield chunk


def micro_batches(chunk: list[Group], token_budget: int) -> Iterator[Branches]:
    """Distribute the branches of a chunk so that each row stays within its share of the budget (at least one each)."""
    waiting = [list(group.trajectories) for group in chunk]
    share = token_budget // len(chunk)
    while any(waiting):
        branches: Branches = []
        for row, (group, queue) in enumerate(zip(chunk, waiting, strict=True)):
            used = len(group.prompt.ids)
            while queue and (used + len(queue[0].ids) <= share or used == len(group.prompt.ids)):
                used += len(queue[0].ids)
                branches.append((row, queue.pop(0)))
        yield branches


def _branch_scores(
    policy: Policy, prefixes: Prefixes, branches: Branches, temperature: float, entropies: bool = False
) -> list[torch.Tensor]:
    """Log-probabilities [R, T] of the branches' sampled tokens, their mask, and their entropies if asked for."""
    hidden = policy.branch_states(prefixes, [(row, t.ids, t.images) for row, t in branches])
    # The state before a branch's first token is the last one of its prefix. States are numbered: prefixes, then hidden.
    sources: list[int] = []
    targets: list[int] = []
    start = len(prefixes.states)
    for row, t in branches:
        before = (row, *range(start, start + len(t.ids) - 1))
        sources += compress(before, t.sampled)
        targets += compress(t.ids, t.sampled)
        start += len(t.ids)
    states = torch.cat([prefixes.states, hidden])[sources]
    scores = policy.token_scores(states, torch.tensor(targets, device=policy.device), temperature, entropies)
    lengths = [t.n_sampled for _, t in branches]
    logp, *more = (pad_sequence(list(column.split(lengths)), batch_first=True) for column in scores)
    mask = torch.arange(logp.shape[1], device=policy.device) < torch.tensor(lengths, device=policy.device)[:, None]
    return [logp, mask.to(logp.dtype), *more]
