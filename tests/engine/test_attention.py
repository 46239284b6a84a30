"""The merged attention against a softmax over everything that a token may see, with gradients."""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers.compare import assert_close
from helpers.kernels import efficient, efficient_backward

from loupe.engine import kernels
from loupe.engine.attention import SharedAttention
from loupe.engine.layout import Prefixes

HEADS, KV_HEADS, WIDTH = 4, 2, 8
PREFIX_LENGTHS, PROMPTS, COUNTS = [5, 3], [0, 0, 1], [4, 1, 3]


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = [(sum(COUNTS), HEADS), (sum(COUNTS), KV_HEADS), (sum(COUNTS), KV_HEADS)]
    shapes += [(len(PREFIX_LENGTHS), KV_HEADS, max(PREFIX_LENGTHS))] * 2
    tensors = [torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensor.requires_grad_() for tensor in tensors]


def plain(queries, keys, values, prefix_keys, prefix_values):
    """Token by token and head by head."""
    out, start = [], 0
    for prompt, count in zip(PROMPTS, COUNTS, strict=True):
        for i in range(start, start + count):
            for head in range(HEADS):
                shared = head * KV_HEADS // HEADS
                before = (prefix_keys[prompt, shared], prefix_values[prompt, shared])
                seen, told = (
                    torch.cat([old[: PREFIX_LENGTHS[prompt]], new[start : i + 1, shared]])
                    for old, new in zip(before, (keys, values), strict=True)
                )
                out.append(torch.softmax(seen @ queries[i, head] / math.sqrt(WIDTH), 0) @ told)
        start += count
    return torch.stack(out).view(-1, HEADS, WIDTH)


def merged(queries, keys, values, prefix_keys, prefix_values):
    layers = [(prefix_keys, prefix_values)]
    shared = Prefixes(layers, PREFIX_LENGTHS, torch.zeros(2, 1), [0, 0], HEADS // KV_HEADS).share(PROMPTS, COUNTS)
    own = (shared.by_branch.pad(tensor).transpose(1, 2) for tensor in (keys, values))
    return SharedAttention.apply(queries, *own, prefix_keys, prefix_values, shared, 1 / math.sqrt(WIDTH))


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
KERNELS = ["fused", "plain", "plain, block by block", "efficient, in form"]


@pytest.fixture(params=KERNELS + [pytest.param(name, marks=NO_GPU) for name in ("plain on CUDA", "efficient on CUDA")])
def device(request, monkeypatch):
    """Where a kernel computes; all attention is by that kernel."""
    if request.param != "fused":
        monkeypatch.setattr(kernels, "_is_for_cpu", lambda part: False)
    if request.param == "plain, block by block":
        monkeypatch.setattr(kernels, "MOST_SCORES", 1)
    if request.param == "efficient, in form":
        monkeypatch.setattr(kernels, "_is_for_cuda", lambda part: True)
        monkeypatch.setattr(kernels, "EFFICIENT", efficient)
        monkeypatch.setattr(kernels, "EFFICIENT_BACKWARD", efficient_backward)
    if request.param == "efficient on CUDA":
        monkeypatch.setattr(kernels, "MANY_QUERIES", 1)
        monkeypatch.setattr(kernels, "_scores", None)  # which the plain one needs
    return torch.device("cuda" if "on CUDA" in request.param else "cpu")


def on(device, tensors):
    return [tensor.detach().to(device).requires_grad_() for tensor in tensors]


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=str
)
def test_it_equals_one_softmax_over_all_that_a_token_sees(device, dtype, atol, request):
    if "efficient on CUDA" in request.node.name and dtype == torch.float64:
        pytest.skip("no float64")
    tensors, exact = on(device, inputs(dtype)), inputs(torch.float64)
    weights = torch.linspace(-1, 1, sum(COUNTS) * HEADS * WIDTH).view(-1, HEADS, WIDTH)
    with device:
        out = merged(*tensors)
    assert out.dtype == dtype
    expected = plain(*exact)
    assert_close(out.cpu().double(), expected, atol=atol, name="output")
    (out.cpu().double() * weights).sum().backward()
    (expected * weights).sum().backward()
    names = ("queries", "keys", "values", "prefix keys", "prefix values")
    for name, ours, other in zip(names, tensors, exact, strict=True):
        assert_close(ours.grad.cpu().double(), other.grad, atol=atol, name=name)


def test_a_bias_of_the_keys_costs_no_precision(device):
    """As in Qwen2.5: it shifts all scores of a query alike, and so changes nothing but their size."""
    queries, keys, values, prefix_keys, prefix_values = (tensor.detach() for tensor in inputs(torch.bfloat16))
    given = queries + 8, keys + 64, values, prefix_keys + 64, prefix_values
    exact = plain(*(tensor.double() for tensor in given))
    assert exact.std() > 0.5  # no key has all the weight, nor do all have the same
    with device:
        found = merged(*(tensor.to(device) for tensor in given))
    assert_close(found.cpu().double(), exact, atol=0.02, name="output")


def test_the_padding_of_a_prefix_gets_no_gradient(device):
    tensors = on(device, inputs(torch.float32))
    with device:
        merged(*tensors).sum().backward()
    for tensor in tensors[3:]:
        assert not tensor.grad[1, :, PREFIX_LENGTHS[1] :].any() and tensor.grad[1, :, : PREFIX_LENGTHS[1]].all()


@pytest.mark.parametrize(
    ("cuda", "capability", "dtype", "queries", "efficient"),
    [
        ("13.0", (9, 0), torch.bfloat16, 1024, True),
        ("13.0", (9, 0), torch.bfloat16, 1023, False),  # as in decoding
        ("13.0", (7, 5), torch.bfloat16, 1024, False),
        ("13.0", (7, 5), torch.float16, 1024, True),
        ("13.0", (9, 0), torch.float64, 1024, False),
        (None, (9, 0), torch.float32, 1024, False),  # AMD
    ],
)
def test_which_kernel_a_card_uses(cuda, capability, dtype, queries, efficient, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    kernels._efficient_dtypes.cache_clear()
    tensor = SimpleNamespace(is_cuda=True, shape=(1, 2, queries, 8), dtype=dtype, device=torch.device("cuda"))
    try:
        assert kernels._is_for_cuda(SimpleNamespace(queries=tensor)) == efficient
    finally:
        kernels._efficient_dtypes.cache_clear()
