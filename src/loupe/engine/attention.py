"""Attention of branches to the prefix of their prompt and to themselves: without copies of the prefix, and without
columns of other branches.

Every token attends to two blocks of keys: those of its prompt's prefix, which exist once, and those of its own branch
(``layout``). The two results are merged by their log-sum-exps, which is exact (as in Hydragen, arXiv 2402.05099)::

    out = (1 - share) * a + share * b        share = exp(lse_b) / (exp(lse_a) + exp(lse_b))

The backward pass of each part is the usual one, given the merged output and log-sum-exp. Cost and memory are linear in
the group size. Heads that share keys (grouped-query attention) are laid out as further queries, so that no keys are
repeated.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from transformers import AttentionInterface, PreTrainedConfig

from loupe.engine.layout import Shared

SHARED_PREFIX = "loupe_shared_prefix"
MOST_SCORES = 2**27
"""Elements of the matrix of scores that the plain kernel has in memory at a time (at least one block's)."""


class Part(NamedTuple):
    """Queries of blocks and the keys they attend to. queries: [blocks, kv heads, M, d]."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor
    scale: float


def attend(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [blocks, kv heads, M, d] and the log-sum-exp [blocks, kv heads, M] of the scores."""
    if _has_flash(part):
        queries, keys, values, bias, scale = part
        return FLASH(queries, keys, values, 0.0, False, attn_mask=bias, scale=scale)
    outs, lses = [], []
    for block in _split(part):
        scores = _scores(block)
        lses.append(scores.logsumexp(-1))
        outs.append((scores - lses[-1][..., None]).exp().to(block.values) @ block.values)
    return torch.cat(outs), torch.cat(lses)


def attend_backward(
    part: Part, gradient: torch.Tensor, out: torch.Tensor, lse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of queries, keys and values. out, lse: of the whole softmax, of which ``part`` may be a part."""
    if _has_flash(part):
        queries, keys, values, bias, scale = part
        return FLASH_BACKWARD(
            gradient, queries, keys, values, out, lse.contiguous(), 0.0, False, attn_mask=bias, scale=scale
        )
    inner = (gradient.to(lse.dtype) * out).sum(-1, keepdim=True)
    done, start = [], 0
    for block in _split(part):
        rows = slice(start, start := start + len(block.queries))
        weights = (_scores(block) - lse[rows, ..., None]).exp()
        scores = weights * (_product(gradient[rows], block.values) - inner[rows]) * block.scale
        scores, weights = scores.to(block.keys), weights.to(block.values)
        done.append((scores @ block.keys, scores.mT @ block.queries, weights.mT @ gradient[rows]))
    of_queries, of_keys, of_values = (torch.cat(blocks) for blocks in zip(*done, strict=True))
    return of_queries, of_keys, of_values


FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _has_flash(part: Part) -> bool:
    """Whether torch's fused kernel is there, which never holds the matrix of scores. It has a public form only without
    the log-sum-exp.
    """
    return part.queries.device.type == "cpu"


def _split(part: Part) -> Iterator[Part]:
    """Blocks whose scores fit into memory together."""
    queries, keys, values, bias, scale = part
    size = max(1, MOST_SCORES // (queries[0, ..., 0].numel() * keys.shape[2]))
    for i in range(0, len(queries), size):
        some = bias if len(bias) == 1 else bias[i : i + size]
        yield Part(queries[i : i + size], keys[i : i + size], values[i : i + size], some, scale)


def _scores(part: Part) -> torch.Tensor:
    return _product(part.queries, part.keys) * part.scale + part.bias


def _product(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """``rows @ columns.mT`` of blocks and heads, in float32 at least.

    The result of two bfloat16 matrices would be rounded to bfloat16. Where biases make all scores large, as those of
    the keys of Qwen2.5 do, that loses what tells one key from another.
    """
    with torch.autocast(rows.device.type, enabled=False):
        if rows.is_cuda and rows.dtype == columns.dtype in (torch.bfloat16, torch.float16):  # as fast as without
            flat = torch.bmm(rows.flatten(0, 1), columns.flatten(0, 1).mT, out_dtype=torch.float32)
            return flat.unflatten(0, rows.shape[:2])
        exact = torch.promote_types(rows.dtype, torch.float32)
        return rows.to(exact) @ columns.mT.to(exact)


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
    return (
        Part(shared.by_prompt.group(queries, kv_heads), prefix_keys, prefix_values, shared.prefix_bias, scale),
        Part(shared.by_branch.group(queries, kv_heads), keys, values, shared.own_bias, scale),
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
