"""A stand-in for torch's memory-efficient attention on a CUDA device, which checks what that takes for granted."""

from __future__ import annotations

import torch

ALIGNED = 8
"""Elements of a vector that the kernel reads at a time."""
PADDED = 32
"""The log-sum-exps of a head are padded to a multiple of it."""


def efficient(queries, keys, values, bias, with_lse, dropout, causal, *, scale):
    check_bias(queries, keys, bias)
    scores = queries.to(exact(queries)) @ keys.mT.to(exact(keys)) * scale + bias
    lse = scores.logsumexp(-1)
    out = ((scores - lse[..., None]).exp() @ values.to(scores)).to(queries)
    filled = torch.nn.functional.pad(lse, (0, -lse.shape[2] % PADDED), value=torch.inf)
    return in_memory_by_token(out), filled, None, None


def efficient_backward(
    gradient, queries, keys, values, bias, out, lse, seed, offset, dropout, wanted, causal, *, scale
):
    check_bias(queries, keys, bias)
    heads, width, size = out.shape[1:]
    assert out.stride()[1:] == (size, heads * size, 1), "the kernel would read another token's output"
    assert lse.shape[2] % PADDED == 0 and lse.is_contiguous() and (lse[..., width:] == torch.inf).all()
    kind = exact(queries)
    q, k, v, g = (tensor.to(kind) for tensor in (queries, keys, values, gradient))
    weights = (q @ k.mT * scale + bias - lse[..., :width, None]).exp()
    scores = weights * (g @ v.mT - (g * out).sum(-1, keepdim=True)) * scale
    found = (scores @ k, scores.mT @ q, weights.mT @ g)
    return *(in_memory_by_token(tensor.to(queries)) for tensor in found), None


def check_bias(queries, keys, bias) -> None:
    assert bias.shape == (*queries.shape[:3], keys.shape[2]) and bias.dtype == queries.dtype
    assert bias.stride(3) == 1 and all(stride % ALIGNED == 0 for stride in bias.stride()[:3])


def exact(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def in_memory_by_token(tensor: torch.Tensor) -> torch.Tensor:
    """As the kernel returns it."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)
