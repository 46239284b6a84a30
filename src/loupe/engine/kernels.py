"""Attention of blocks of queries to their own keys, with the log-sum-exps of the scores, and its backward pass.

Three kernels give the same results: torch's fused one for CPUs, its memory-efficient one for many queries on a CUDA
device, and matrix products otherwise. The fused ones never hold the matrix of scores. torch has a public form of them
only without log-sum-exps.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from loupe.engine.layout import by_key_head, by_token

MOST_SCORES = 2**27
"""Elements of the matrix of scores that the plain kernel has in memory at a time (at least one block's)."""
MANY_QUERIES = 1024
"""From so many in a block on (tokens times heads that share keys), torch's kernel for CUDA is the faster one. It gives
all keys of a few queries, as in decoding, to the same few processors."""

FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
EFFICIENT = torch.ops.aten._scaled_dot_product_efficient_attention
EFFICIENT_BACKWARD = torch.ops.aten._scaled_dot_product_efficient_attention_backward

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Of queries, keys and values."""


class Part(NamedTuple):
    """Queries of blocks and the keys they attend to. queries: [blocks, kv heads, M, d], of width d.

    keys, values: [blocks, kv heads, N, d]. scale: of the scores, before ``bias`` is added, [blocks or 1, 1, M or 1, N].
    heads: those that share keys; the heads of a token are neighbors in M = tokens * heads.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    bias: torch.Tensor
    scale: float
    heads: int


def attend(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [blocks, kv heads, M, d] and the log-sum-exp [blocks, kv heads, M] of the scores."""
    if _is_for_cpu(part):
        queries, keys, values, bias, scale, _ = part
        return FLASH(queries, keys, values, 0.0, False, attn_mask=bias, scale=scale)
    if _is_for_cuda(part):
        queries, keys, values, bias = _by_head(part)
        out, lse, *_ = EFFICIENT(queries, keys, values, bias, True, 0.0, False, scale=part.scale)
        lse = lse[..., : queries.shape[2], None]  # the kernel pads it
        return _grouped(out, part.heads), _grouped(lse, part.heads)[..., 0]
    outs, lses = [], []
    for block in _split(part):
        scores = _scores(block)
        lses.append(scores.logsumexp(-1))
        outs.append((scores - lses[-1][..., None]).exp().to(block.values) @ block.values)
    return torch.cat(outs), torch.cat(lses)


def attend_backward(part: Part, gradient: torch.Tensor, out: torch.Tensor, lse: torch.Tensor) -> Gradients:
    """The gradients of queries, keys and values. out, lse: of the whole softmax, of which ``part`` may be a part."""
    if _is_for_cpu(part):
        queries, keys, values, bias, scale, _ = part
        return FLASH_BACKWARD(
            gradient, queries, keys, values, out, lse.contiguous(), 0.0, False, attn_mask=bias, scale=scale
        )
    if _is_for_cuda(part):
        return _efficient_backward(part, gradient, out, lse)
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


def _is_for_cpu(part: Part) -> bool:
    return part.queries.device.type == "cpu"


def _is_for_cuda(part: Part) -> bool:
    queries = part.queries
    return queries.is_cuda and queries.shape[2] >= MANY_QUERIES and queries.dtype in _efficient_dtypes(queries.device)


@cache
def _efficient_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Those that the memory-efficient kernel takes on this card."""
    if torch.version.cuda is None:  # AMD's cards are called CUDA too, but the kernel's form is another there
        return ()
    halves = (torch.float16, torch.bfloat16) if torch.cuda.get_device_capability(device) >= (8, 0) else (torch.float16,)
    return (torch.float32, *halves)


def _by_head(part: Part) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values with every head for itself, and the bias, as the memory-efficient kernel takes them."""
    queries = _ungrouped(part.queries, part.heads)
    keys, values = (tensor.repeat_interleave(part.heads, 1) for tensor in (part.keys, part.values))
    bias = part.bias[:, :, :: part.heads].to(queries.dtype)
    columns = bias.shape[3]
    if columns % 16:  # the kernel reads whole vectors: each row must begin at a multiple of their size
        bias = pad(bias, (0, -columns % 16))[..., :columns]
    return queries, keys, values, bias.expand(*queries.shape[:3], columns)


def _ungrouped(grouped: torch.Tensor, heads: int) -> torch.Tensor:
    """[blocks, kv heads, width * heads, d] as [blocks, kv heads * heads, width, d].

    In memory the heads of a token lie side by side. The backward kernel takes that for granted of the output, and reads
    beyond its end where it is not so.
    """
    return by_token(grouped, grouped.shape[2] // heads).contiguous().transpose(1, 2)


def _grouped(ungrouped: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of :func:`_ungrouped`."""
    return by_key_head(ungrouped.transpose(1, 2), ungrouped.shape[1] // heads)


def _efficient_backward(part: Part, gradient: torch.Tensor, out: torch.Tensor, lse: torch.Tensor) -> Gradients:
    queries, keys, values, bias = _by_head(part)
    gradient, out, lse = (_ungrouped(tensor, part.heads) for tensor in (gradient, out, lse[..., None]))
    lse = pad(lse[..., 0], (0, -lse.shape[2] % 32), value=torch.inf).contiguous()  # as the forward kernel pads it
    drawn = torch.zeros((), dtype=torch.long, device=lse.device)  # for dropout, of which there is none
    given = (gradient, queries, keys, values, bias, out, lse, drawn, drawn, 0.0, [True, True, True, False], False)
    of_queries, *of_repeated, _ = EFFICIENT_BACKWARD(*given, scale=part.scale)
    of_keys, of_values = (tensor.unflatten(1, (-1, part.heads)).sum(2) for tensor in of_repeated)
    return _grouped(of_queries, part.heads), of_keys, of_values


def _split(part: Part) -> Iterator[Part]:
    """Blocks whose scores fit into memory together."""
    size = max(1, MOST_SCORES // (part.queries[0, ..., 0].numel() * part.keys.shape[2]))
    for i in range(0, len(part.queries), size):
        queries, keys, values = (tensor[i : i + size] for tensor in part[:3])
        bias = part.bias if len(part.bias) == 1 else part.bias[i : i + size]
        yield part._replace(queries=queries, keys=keys, values=values, bias=bias)


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
