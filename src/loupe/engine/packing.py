"""The layout of a whole group as one sequence that contains its prefix once.

One row per prompt. The prefix tokens come first, then the tokens of all branches in the order in which they were
computed. Each column is marked with its owner::

    column   0  1  2  3  4 | 5  6  7  8  9 | 10 11
    owner    0  0  0  0  0 | 1  2  3  1  1 |  3 -1      0 prefix, 1.. branch, -1 padding

A token attends to the prefix and to the earlier columns of its own branch, and to nothing else. The keys and values of
the prefix therefore exist once, whatever the group size, and positions are passed explicitly (M-RoPE, arXiv 2409.12191
§2.1).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from loupe.records import ImagePatches

PREFIX = 0
PAD = -1


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of one owner (the prefix or a branch), with the pictures behind their placeholders."""

    owner: int
    ids: list[int]
    positions: np.ndarray  # [3, T] temporal, height, width
    images: list[ImagePatches]


@dataclass(frozen=True)
class Packed:
    """Segments of several prompts as tensors, rows padded on the right to a common length T.

    ids, owners: [P, T]; positions: [3, P, T]; offsets[p][s]: column at which segment s of prompt p begins;
    images: in the order of their placeholders, row by row.
    """

    ids: torch.Tensor
    owners: torch.Tensor
    positions: torch.Tensor
    offsets: list[list[int]]
    images: list[ImagePatches]

    def to(self, device: torch.device) -> "Packed":
        """The same on another device; pictures are moved when they are encoded."""
        ids, owners, positions = (tensor.to(device) for tensor in (self.ids, self.owners, self.positions))
        return replace(self, ids=ids, owners=owners, positions=positions)


def pack(rows: list[list[Segment]], pad_id: int, device: torch.device) -> Packed:
    """Concatenate the segments of each prompt, and pad the rows to a common length."""
    width = max(sum(len(segment.ids) for segment in row) for row in rows)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    owners = np.full((len(rows), width), PAD, dtype=np.int64)
    positions = np.zeros((3, len(rows), width), dtype=np.int64)
    offsets, images = [], []
    for p, row in enumerate(rows):
        column, starts = 0, []
        for segment in row:
            end = column + len(segment.ids)
            ids[p, column:end] = segment.ids
            owners[p, column:end] = segment.owner
            positions[:, p, column:end] = segment.positions
            images.extend(segment.images)
            starts.append(column)
            column = end
        offsets.append(starts)
    packed = Packed(torch.from_numpy(ids), torch.from_numpy(owners), torch.from_numpy(positions), offsets, images)
    return packed.to(device)


def visibility(new: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
    """The attention mask, bool [P, 1, T, L + T]: the columns that each new token may attend to.

    new, past: owners [P, T] and [P, L]. Padding attends to padding, so that no row of the attention matrix is empty (an
    empty one would be NaN).
    """
    keys = torch.cat([past, new], dim=1)
    own = keys[:, None, :] == new[:, :, None]
    prefix = (keys == PREFIX)[:, None, :] & (new != PAD)[:, :, None]
    columns = torch.arange(keys.shape[1], device=keys.device)
    earlier = columns[None, :] <= columns[past.shape[1] :, None]
    return ((own | prefix) & earlier)[:, None]


def mrope_positions(
    ids: list[int], images: list[ImagePatches], start: int, image_token: int, merge: int
) -> tuple[np.ndarray, int]:
    """The positions [3, T] of tokens that begin at position ``start``, and the position of the token after them.

    Text advances all three channels by one per token. A picture of h x w merged cells keeps the temporal channel
    constant and counts rows and columns in the other two; the text after it continues at the picture's first position
    plus max(h, w). On whole sequences this equals transformers' ``get_rope_index``; it also works on parts of one.
    """
    out = np.empty((3, len(ids)), dtype=np.int64)
    position, column, pictures = start, 0, iter(images)
    while column < len(ids):
        if ids[column] != image_token:
            out[:, column] = position
            position, column = position + 1, column + 1
            continue
        _, h, w = next(pictures).grid
        h, w = h // merge, w // merge
        cells = slice(column, column + h * w)
        out[0, cells] = position
        out[1, cells] = position + np.repeat(np.arange(h), w)
        out[2, cells] = position + np.tile(np.arange(w), h)
        position, column = position + max(h, w), column + h * w
    return out, position


@dataclass
class Context:
    """The part of a batch of prompts that is already computed: keys and values, and the owner of each column."""

    cache: DynamicCache
    owners: torch.Tensor  # [P, L]

    @classmethod
    def empty(cls, prompts: int, device: torch.device) -> "Context":
        return cls(DynamicCache(), torch.empty(prompts, 0, dtype=torch.long, device=device))

    def tensors(self) -> list[torch.Tensor]:
        """Keys and values of all layers: k0, v0, k1, v1, ... each [P, kv heads, L, head width]."""
        return [tensor for layer in self.cache.layers for tensor in (layer.keys, layer.values)]

    def with_tensors(self, tensors: list[torch.Tensor]) -> "Context":
        """A context with the same owners that refers to the given keys and values, without copying them."""
        cache = DynamicCache()
        for keys, values in zip(tensors[::2], tensors[1::2], strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            cache.layers.append(layer)
        return Context(cache, self.owners)

    def select(self, prompts: list[int]) -> "Context":
        """The context of some of its prompts only."""
        index = torch.tensor(prompts, device=self.owners.device)
        return Context(self.cache, self.owners[index]).with_tensors([tensor[index] for tensor in self.tensors()])
