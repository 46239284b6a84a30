"""How the tokens of branches lie in memory: flat, [N], without padding, branch after branch and prompt after prompt.

Each branch is a block of its own for attention to itself, and the branches of a prompt are one block for attention to
its prefix, whose keys and values exist once. Keys and values of earlier tokens are kept per branch, and grow in steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, each [blocks, kv heads, columns, head width]."""


def consecutive(starts: np.ndarray, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """``counts[i]`` numbers from ``starts[i]`` on, for every i in turn: consecutive([5, 0], [2, 3]) is 5 6 0 1 2."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1])


def by_key_head(tokens: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """[blocks, width, heads, ...] as [blocks, kv heads, width * heads per kv head, ...]."""
    return tokens.unflatten(2, (kv_heads, -1)).transpose(1, 2).flatten(2, 3)


def by_token(grouped: torch.Tensor, width: int) -> torch.Tensor:
    """The inverse of :func:`by_key_head`. width: tokens of a block."""
    return grouped.unflatten(2, (width, -1)).transpose(1, 2).flatten(2, 3)


class Ragged:
    """Where flat tokens [N] lie in blocks of a common width: block after block, each padded on the right.

    lengths: tokens of each block, which may be none.
    """

    def __init__(self, lengths: list[int], device: torch.device):
        self.blocks, self.width = len(lengths), max(lengths)
        self.places: torch.Tensor | None = None  # of the tokens in the blocks, unless there is no padding
        if min(lengths) < self.width:
            starts = self.width * np.arange(len(lengths))
            self.places = torch.from_numpy(consecutive(starts, lengths)).to(device)

    def pad(self, flat: torch.Tensor) -> torch.Tensor:
        """[N, ...] as [blocks, width, ...], with zeros as padding."""
        if self.places is not None:
            zeros = flat.new_zeros(self.blocks * self.width, *flat.shape[1:])
            flat = zeros.index_copy(0, self.places, flat)
        return flat.view(self.blocks, self.width, *flat.shape[1:])

    def flat(self, padded: torch.Tensor) -> torch.Tensor:
        """[blocks, width, ...] as [N, ...]."""
        padded = padded.flatten(0, 1)
        return padded if self.places is None else padded.index_select(0, self.places)

    def group(self, flat: torch.Tensor, kv_heads: int) -> torch.Tensor:
        """[N, heads, ...] as [blocks, kv heads, width * heads per kv head, ...]."""
        return by_key_head(self.pad(flat), kv_heads)

    def ungroup(self, grouped: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`group`."""
        return self.flat(by_token(grouped, self.width))


def write(layer: KeysValues, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Put keys and values [N, kv heads, head width] into a layer's buffers. places: N * kv heads rows of a buffer."""
    for buffer, new in zip(layer, (keys, values), strict=True):
        buffer.view(-1, new.shape[-1]).index_copy_(0, places, new.flatten(0, 1))


class Keys(Protocol):
    """Where the branches' own keys and values are kept."""

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        """Add those of new tokens [N, kv heads, head width]; returns those of all tokens so far."""
        ...


@dataclass(eq=False)
class Shared:
    """What a forward pass of branches needs to know about their attention.

    prefix: by layer, the keys and values of each prompt's prefix. by_prompt, by_branch: the flat tokens in blocks.
    prefix_bias, own_bias: added to the scores of the prefix's columns and of the branches' own; -inf where a token must
    not look. own: earlier keys and values of the branches, to which this pass adds its own; None if there are none.
    """

    prefix: list[KeysValues]
    prefix_bias: torch.Tensor
    by_prompt: Ragged
    by_branch: Ragged
    own_bias: torch.Tensor
    own: Keys | None = None


@dataclass(eq=False)
class Prefixes:
    """The computed prefixes of a batch of prompts.

    layers: keys and values. lengths: tokens of each prefix. states: [P, D], the hidden state of its last token.
    next_positions: the M-RoPE position at which its continuations begin. queries_per_key: heads that share keys.
    """

    layers: list[KeysValues]
    lengths: list[int]
    states: torch.Tensor
    next_positions: list[int]
    queries_per_key: int

    @property
    def kv_heads(self) -> int:
        return self.layers[0][0].shape[1]

    @cached_property  # used at every step of decoding
    def bias(self) -> torch.Tensor:
        """What is added to the scores of the columns, [P, 1, 1, L], so that no token sees the padding."""
        keys, device = self.layers[0][0], self.states.device
        padding = torch.arange(keys.shape[2], device=device) >= torch.tensor(self.lengths, device=device)[:, None]
        bias = torch.zeros(padding.shape, dtype=keys.dtype, device=device).masked_fill_(padding, -torch.inf)
        return bias[:, None, None]

    def tensors(self) -> list[torch.Tensor]:
        """Keys and values of all layers, k0, v0, k1, v1, .., then the states."""
        return [*(tensor for layer in self.layers for tensor in layer), self.states]

    def with_tensors(self, tensors: list[torch.Tensor]) -> "Prefixes":
        """The same prefixes with other :meth:`tensors`."""
        *layers, states = tensors
        return replace(self, layers=list(zip(layers[::2], layers[1::2], strict=True)), states=states)

    def select(self, prompts: list[int]) -> "Prefixes":
        """Some of the prefixes only."""
        index = torch.tensor(prompts, device=self.states.device)
        lengths, after = ([values[i] for i in prompts] for values in (self.lengths, self.next_positions))
        chosen = self.with_tensors([tensor[index] for tensor in self.tensors()])
        return replace(chosen, lengths=lengths, next_positions=after)

    def share(self, prompts: list[int], counts: list[int], own: "OwnKeys | None" = None) -> Shared:
        """The attention of branches. prompts, counts: of each branch, its prompt (ascending) and its new tokens."""
        device = self.states.device
        per_prompt = [0] * len(self.lengths)
        for prompt, count in zip(prompts, counts, strict=True):
            per_prompt[prompt] += count
        by_branch = Ragged(counts, device)
        before, columns = np.zeros(1, int), by_branch.width
        if own is not None:
            before, columns = own.begin(counts), own.columns
        begins = torch.from_numpy(before).to(device)
        own_bias = causal_bias(begins, by_branch.width, columns, self.queries_per_key, self.bias.dtype)
        return Shared(self.layers, self.bias, Ragged(per_prompt, device), by_branch, own_bias, own)


def causal_bias(before: torch.Tensor, width: int, columns: int, heads: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to scores [blocks, kv heads, width * heads, columns] so that no token sees a later one.

    before: [blocks] or [1], the columns of each branch that lie before its first new token. heads: per kv head.
    """
    last = before[:, None] + torch.arange(width * heads, device=before.device) // heads
    later = torch.arange(columns, device=before.device) > last[..., None]
    return torch.zeros(later.shape, dtype=dtype, device=before.device).masked_fill_(later, -torch.inf)[:, None]


class OwnKeys:
    """Keys and values of the branches' own tokens, in buffers that grow in steps; one row per branch."""

    STEP = 64

    def __init__(self, branches: int, kv_heads: int, device: torch.device):
        self.lengths, self.kv_heads, self.device = np.zeros(branches, int), kv_heads, device
        self.capacity = 0  # columns of the buffers
        self.layers: dict[int, KeysValues] = {}

    @property
    def columns(self) -> int:
        """Columns in use."""
        return int(self.lengths.max())

    def begin(self, counts: list[int]) -> np.ndarray:
        """Make room for so many new tokens of each branch. Returns the lengths before them."""
        before = self.lengths
        self.lengths = before + counts
        self._reserve()
        heads = np.repeat(np.arange(len(counts)), counts)[:, None] * self.kv_heads + np.arange(self.kv_heads)
        places = heads * self.capacity + consecutive(before, counts)[:, None]  # of the new keys in a buffer
        self.places = torch.from_numpy(places.ravel()).to(self.device)
        return before

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        """See :class:`Keys`."""
        held = self.layers[layer] = self._grown(self.layers.get(layer), keys)
        write(held, self.places, keys, values)
        columns = self.columns
        return held[0][:, :, :columns], held[1][:, :, :columns]

    def _reserve(self) -> None:
        self.capacity = max(self.capacity, -(-self.columns // self.STEP) * self.STEP)

    def _grown(self, held: KeysValues | None, like: torch.Tensor) -> KeysValues:
        """The buffers of a layer at the present capacity. like: has the head width."""
        if held is not None and held[0].shape[2] == self.capacity:
            return held
        # zeros, because what lies behind a mask must not be NaN
        shape = len(self.lengths), self.kv_heads, self.capacity, like.shape[-1]
        buffers = [like.new_zeros(shape) for _ in range(2)]
        for buffer, old in zip(buffers, held or (), strict=False):
            buffer[:, :, : old.shape[2]] = old
        return buffers[0], buffers[1]

    def copy_to(self, layers: list[KeysValues], rows: torch.Tensor) -> None:
        """Write all tokens' keys and values into rows of other buffers, which have at least as many columns."""
        for layer, held in self.layers.items():
            for buffer, own in zip(layers[layer], held, strict=True):
                buffer[rows, :, : self.columns] = own[:, :, : self.columns]

    def copy_from(self, layers: list[KeysValues], rows: torch.Tensor, lengths: np.ndarray) -> None:
        """Read them back, with further tokens. lengths: of the branches by now."""
        self.lengths = lengths
        self._reserve()
        for layer, held in enumerate(layers):
            own = self._grown(self.layers.get(layer), held[0])
            for buffer, given in zip(own, held, strict=True):
                buffer[:, :, : self.columns] = given[rows, :, : self.columns]
            self.layers[layer] = own

    def keep(self, branches: list[int]) -> None:
        """Forget all branches but these."""
        self.lengths, index = self.lengths[branches], torch.tensor(branches, device=self.device)
        self.layers = {layer: (keys[index], values[index]) for layer, (keys, values) in self.layers.items()}
