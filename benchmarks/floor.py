"""The least time that the matrix products of a computation take: each of them alone, at its own shape."""

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Product = tuple[int, int, int, int]
"""[b, m, k] @ [b, k, n] as (b, m, k, n)."""


class Products(TorchDispatchMode):
    """Counts the matrix products of everything that is computed within it, those of attention included."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        if name in ("mm", "bmm", "addmm"):
            one, two = args[-2:]
            batch = len(one) if one.dim() == 3 else 1
            self.counts[batch, *one.shape[-2:], two.shape[-1]] += 1
        elif "flash_attention" in name:
            queries, keys = args[1:3] if name.endswith("backward") else args[:2]
            (blocks, heads, rows, width), columns = queries.shape, keys.shape[-2]
            scores, outputs = (blocks * heads, rows, width, columns), (blocks * heads, rows, columns, width)
            backward = name.endswith("backward")
            self.counts[scores] += 2 if backward else 1
            self.counts[outputs] += 3 if backward else 1
        return function(*args, **(kwargs or {}))


def floor(function: Callable, *arguments: object, repeats: int = 5) -> float:
    """Seconds of the matrix products of ``function(*arguments)``, each shape at the best of ``repeats`` timings."""
    with Products() as products:
        function(*arguments)
    return sum(count * _best(product, repeats) for product, count in products.counts.items())


def _best(product: Product, repeats: int) -> float:
    batch, rows, inner, columns = product
    one, two = torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)
    if batch == 1:
        one, two = one[0], two[0]
    took = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        one @ two
        took.append(time.perf_counter() - start)
    return min(took)
