"""Attention of branches to the prefix of their prompt and to themselves: without copies of the prefix, and without
columns of other branches.

Every token attends to two blocks of keys: those of its prompt's prefix, which exist once, and those of its own branch
(``layout``). The two results are merged by their log-sum-exps, which is exact (as in Hydragen, arXiv 2402.05099)::

    out = (1 - share) * a + share * b        share = exp(lse_b) / (exp(lse_a) + exp(lse_b))

The backward pass of each part is the usual one, given the merged output and log-sum-exp. Cost and memory are linear in
the group size. Heads that share keys (grouped-query attention) are laid out as further queries, so that most kernels
repeat no keys (``kernels``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, PreTrainedConfig

from loupe.engine.kernels import Part, attend, attend_backward
from loupe.engine.layout import Shared

SHARED_PREFIX = "loupe_shared_prefix"


class SharedAttention(torch.autograd.Function):
    """Flat queries [N, heads, d] over the prefix and the branches' own keys: [N, heads, d]."""

    @staticmethod
    def forward(ctx, queries, keys, values, prefix_keys, prefix_values, shared: Shared, scale: float):
        tensors = (queries, keys, values, prefix_keys, prefix_values)
        prefix, own = _parts(tensors, shared, scale)
        (a, lse_a), (b, lse_b) = attend(prefix), attend(own)
        a, lse_a = shared.by_prompt.ungroup(a), shared.by_prompt.ungroup(lse_a[..., None])
        b, lse_b = shared.by_branch.ungroup(b), shared.by_branch.ungroup(lse_b[..., None])
        out = torch.lerp(a, b, (lse_b - lse_a).sigmoid().to(a))
        ctx.save_for_backward(*tensors, out, torch.logaddexp(lse_a, lse_b))
        ctx.shared, ctx.scale = shared, scale
        return out

    @staticmethod
    def backward(ctx, gradient):
        *tensors, out, lse = ctx.saved_tensors
        gradients = []
        parts = _parts(tensors, ctx.shared, ctx.scale)
        for part, blocks in zip(parts, (ctx.shared.by_prompt, ctx.shared.by_branch), strict=True):
            given, whole, sums = (blocks.group(tensor, part.keys.shape[1]) for tensor in (gradient, out, lse))
            of_grouped, *of_keys = attend_backward(part, given, whole, sums[..., 0])
            gradients.append((blocks.ungroup(of_grouped), *of_keys))
        (of_queries, prefix_keys, prefix_values), (also, keys, values) = gradients
        return of_queries + also, keys, values, prefix_keys, prefix_values, None, None


def _parts(tensors: Sequence[torch.Tensor], shared: Shared, scale: float) -> tuple[Part, Part]:
    queries, keys, values, prefix_keys, prefix_values = tensors
    kv_heads = keys.shape[1]
    heads = queries.shape[1] // kv_heads
    return (
        Part(shared.by_prompt.group(queries, kv_heads), prefix_keys, prefix_values, shared.prefix_bias, scale, heads),
        Part(shared.by_branch.group(queries, kv_heads), keys, values, shared.own_bias, scale, heads),
    )


def shared_prefix_attention(module, query, key, value, attention_mask, scaling, shared: Shared, **kwargs):
    """The form that transformers calls. query, key, value: [1, heads or kv heads, N, d] of flat tokens."""
    prefix = shared.prefix[module.layer_idx]
    queries, keys, values = (tensor[0].transpose(0, 1).to(prefix[0].dtype) for tensor in (query, key, value))
    if shared.own is None:
        keys, values = (shared.by_branch.pad(tensor).transpose(1, 2) for tensor in (keys, values))
    else:
        keys, values = shared.own.append(module.layer_idx, keys, values)
    with torch.autocast(query.device.type, enabled=False):
        out = SharedAttention.apply(queries, keys, values, *prefix, shared, scaling)
    return out[None].to(query.dtype), None


AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)


@contextmanager
def attending_by(name: str, config: PreTrainedConfig) -> Iterator[None]:
    """Within it, the part of a model with this configuration attends by the registered function ``name``.

    transformers builds no mask for a function that it does not know one for.
    """
    earlier = config._attn_implementation
    if earlier == name:  # to set it again would take longer than some layers
        yield
        return
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = earlier
