"""Decoding in fixed shapes, so that a GPU can replay a step as one CUDA graph instead of launching its operations.

All branches of a batch lie in a grid, prompts x width, whose sides are rounded up to powers of two; so are the columns
of prefixes and of own keys. Slots without a live branch are computed too, and ignored. What then differs from step to
step are three numbers per slot: token, position, and number of earlier tokens. On other devices the same steps run
operation by operation, which is slower than decoding in exact shapes, but shows that the results are equal.
"""

from collections import OrderedDict
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from loupe.engine.layout import KeysValues, OwnKeys, Prefixes, Ragged, Shared, causal_bias, consecutive, write
from loupe.engine.policy import Policy
from loupe.errors import UserError

FEWEST_COLUMNS = 64


class Shape(NamedTuple):
    """prompts, width: sides of the grid. prefix, columns: keys of a prefix, and a branch's own."""

    prompts: int
    width: int
    prefix: int
    columns: int


class FixedKeys:
    """Keys and values of the branches' own tokens, in buffers of fixed size [slots, kv heads, columns, head width]."""

    def __init__(self, layers: list[KeysValues]):
        self.layers = layers
        self.places = torch.empty(0)  # of the new tokens' keys in a buffer

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> KeysValues:
        """Write the new tokens' keys and values [slots, kv heads, head width]; returns all columns."""
        write(self.layers[layer], self.places, keys, values)
        return self.layers[layer]


class FixedStep:
    """A decoding step of one shape, with the tensors that it reads and writes."""

    def __init__(self, policy: Policy, shape: Shape, like: Prefixes):
        self.policy, self.shape = policy, shape
        self.slots, self.heads = shape.prompts * shape.width, like.queries_per_key
        keys, device = like.layers[0][0], policy.device
        self.dtype = keys.dtype

        def buffers(blocks: int, columns: int) -> list[KeysValues]:
            size = blocks, like.kv_heads, columns, keys.shape[3]
            return [(keys.new_zeros(size), keys.new_zeros(size)) for _ in like.layers]

        self.prefix, self.own = buffers(shape.prompts, shape.prefix), FixedKeys(buffers(self.slots, shape.columns))
        self.bias = keys.new_zeros(shape.prompts, 1, 1, shape.prefix)
        self.by_prompt = Ragged([shape.width] * shape.prompts, device)
        self.by_branch = Ragged([1] * self.slots, device)
        self.inputs = torch.zeros(3, self.slots, dtype=torch.long, device=device)  # tokens, positions, own lengths
        self.first = torch.arange(self.slots * like.kv_heads, device=device).view(self.slots, -1) * shape.columns
        self.graph: torch.cuda.CUDAGraph | None = None

    def load(self, prefixes: Prefixes) -> None:
        """Copy the prefixes. Whatever lies in the grid's further prompts does no harm."""
        count, columns = prefixes.bias.shape[0], prefixes.bias.shape[-1]
        self.bias.fill_(-torch.inf)
        self.bias[count:] = 0
        self.bias[:count, ..., :columns] = prefixes.bias
        for held, layer in zip(self.prefix, prefixes.layers, strict=True):
            for buffer, given in zip(held, layer, strict=True):
                buffer[:count, :, :columns] = given

    def __call__(self, inputs: np.ndarray) -> torch.Tensor:
        """The states [slots, D] after the tokens. inputs: [3, slots]."""
        self.inputs.copy_(torch.from_numpy(inputs))
        if self.policy.device.type != "cuda":
            return self._compute()
        self.graph = self.graph or self._captured()
        self.graph.replay()
        return self.states

    def _compute(self) -> torch.Tensor:
        ids, positions, lengths = self.inputs
        self.own.places = (self.first + lengths[:, None]).flatten()
        own_bias = causal_bias(lengths, 1, self.shape.columns, self.heads, self.dtype)
        shared = Shared(self.prefix, self.bias, self.by_prompt, self.by_branch, own_bias, self.own)
        return self.policy.compute(shared, ids[None], positions.expand(3, 1, -1))

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The step as a graph. It must not use what autocast keeps of the weights, which change between rollouts.

        Raises UserError for a model with operations that cannot be recorded.
        """
        precision, graph = autocast_to(self.policy.device), torch.cuda.CUDAGraph()
        with torch.autocast(self.policy.device.type, precision, precision is not None, cache_enabled=False):
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):  # libraries set themselves up in the first runs
                for _ in range(3):
                    self._compute()
            torch.cuda.synchronize()
            try:
                with torch.cuda.graph(graph):
                    self.states = self._compute()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = f"this model cannot decode by CUDA graphs ({error})"
                raise UserError(f"{reason}: set rollout.fixed_shapes=false") from error
        return graph


def autocast_to(device: torch.device) -> torch.dtype | None:
    """The precision that autocast computes in; None without autocast."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


class FixedSteps:
    """Decoding steps of the latest shapes.

    most: shapes to keep. Each holds its own copy of the prefixes and of the branches' keys.
    """

    def __init__(self, policy: Policy, most: int = 8):
        self.policy, self.most = policy, most
        self.steps: OrderedDict[tuple[Shape, torch.dtype | None], FixedStep] = OrderedDict()
        self.places: list[int] = []  # of the weights in memory, from which graphs read them

    def take(self, shape: Shape, like: Prefixes) -> FixedStep:
        """The step of a shape in the present precision, made if need be."""
        places = [tensor.data_ptr() for tensor in chain(self.policy.parameters(), self.policy.buffers())]
        if places != self.places:  # Lightning moves a model away from the GPU at the end of each loop
            self.steps.clear()
            self.places = places
        key = shape, autocast_to(self.policy.device)
        step = self.steps.pop(key, None) or FixedStep(self.policy, shape, like)
        self.steps[key] = step
        while len(self.steps) > self.most:
            self.steps.popitem(last=False)
        return step


class FixedBranches:
    """Branches whose keys lie in the buffers of a step, until they leave it.

    own: where their keys come from and return to. rows: of each branch, its prefix, in ascending order.
    """

    def __init__(self, steps: FixedSteps, prefixes: Prefixes, own: OwnKeys, rows: list[int]):
        counts = np.bincount(rows, minlength=len(prefixes.lengths))
        columns = max(FEWEST_COLUMNS, 2 * int(own.lengths.max()))
        sides = len(counts), int(counts.max()), prefixes.bias.shape[-1], columns
        shape = Shape(*(1 << (side - 1).bit_length() for side in sides))
        self.step, self.own = steps.take(shape, prefixes), own
        self.slots = consecutive(shape.width * np.arange(len(counts)), counts)
        self.inputs = np.zeros((3, self.step.slots), dtype=np.int64)
        self.inputs[2, self.slots] = own.lengths
        self.step.load(prefixes)
        own.copy_to(self.step.own.layers, self._on_device(self.slots))

    def __call__(self, live: list[int], tokens: list[int], positions: list[int]) -> torch.Tensor:
        """The states [live, D] after one more token of some branches. live: their indices among all branches."""
        slots = self.slots[live]
        self.inputs[0, slots], self.inputs[1, slots] = tokens, positions
        states = self.step(self.inputs)
        self.inputs[2, slots] += 1
        return states[self._on_device(slots)]

    @property
    def full(self) -> bool:
        """Whether a branch, live or not, has no column left."""
        return int(self.inputs[2].max()) >= self.step.shape.columns

    def leave(self) -> None:
        """Give the keys back."""
        self.own.copy_from(self.step.own.layers, self._on_device(self.slots), self.inputs[2, self.slots])

    def _on_device(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self.step.inputs.device)
