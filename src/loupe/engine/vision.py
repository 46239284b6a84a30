"""The vision tower, computed in few large operations instead of many small ones; the results are the same."""

from functools import lru_cache
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedConfig
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

Grid = tuple[int, int, int]
"""Of a picture: frames, rows and columns of patches."""

WINDOWS = "loupe_flash_windows"
"""transformers hands all windows of a picture to an attention function in one call if its name contains "flash"."""


class PatchProjection(nn.Conv3d):
    """A convolution of pictures that are no larger than its kernel: one matrix product, many times as fast."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """patches: [N, channels, *kernel]; returns [N, D, 1, 1, 1]."""
        return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]


def windows_attention(module, query, key, value, attention_mask, scaling, cu_seq_lens_q, **kwargs):
    """Attention within windows, or whole pictures, that lie behind one another: those of one size in one call.

    query, key, value: [1, heads, N, d]. cu_seq_lens_q: where each begins, and N. Returns [1, N, heads, d].
    """
    starts, sizes = cu_seq_lens_q[:-1], cu_seq_lens_q.diff()

    def attend(in_windows):
        """in_windows: makes [heads, windows, size, d] of a tensor [heads, N, d]."""
        q, k, v = (in_windows(tensor[0]).transpose(0, 1) for tensor in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1)

    outs, places, different = [], [], sizes.unique().tolist()
    if len(different) == 1:  # as in a batch of crops: nothing is copied
        return attend(lambda tensor: tensor.unflatten(1, (-1, different[0])))[None], None
    for size in different:
        tokens = starts[sizes == size][:, None] + torch.arange(size, device=starts.device)
        outs.append(attend(lambda tensor, tokens=tokens: tensor[:, tokens]))
        places.append(tokens.flatten())
    return torch.cat(outs)[torch.cat(places).argsort()][None], None


def layout_of(grids: list[Grid], config: PreTrainedConfig, device: torch.device) -> dict[str, torch.Tensor]:
    """What the tower would derive from the grids of pictures in every call: rotary positions and, where it has windows,
    the order of the patches and the ends of the windows. Each grid is laid out once.
    """
    merge, window = config.spatial_merge_size, getattr(config, "window_size", None)
    layouts = (_layout_of_one(grid, merge, window, config.patch_size) for grid in grids)
    positions, orders, sizes = zip(*layouts, strict=True)
    arguments = {"position_ids": torch.cat(positions)}
    if window:
        begins = accumulate(map(len, orders), initial=0)
        shifted = [order + begin for order, begin in zip(orders, begins, strict=False)]
        arguments["window_index"] = torch.cat(shifted)
        arguments["cu_window_seqlens"] = F.pad(torch.cat(sizes).cumsum(0, dtype=torch.int32), (1, 0))
    return {name: tensor.to(device) for name, tensor in arguments.items()}


@lru_cache(maxsize=1024)
def _layout_of_one(grid: Grid, merge: int, window: int | None, patch: int) -> tuple[torch.Tensor, ...]:
    """Positions, order of merged cells, and sizes of the windows of one picture."""
    alone = torch.tensor([grid])
    positions = get_vision_position_ids(alone, merge)
    if not window:
        return positions, torch.empty(0), torch.empty(0)
    order, ends = get_vision_window_index(alone, spatial_merge_size=merge, window_size=window, patch_size=patch)
    return positions, order, ends.diff()


AttentionInterface.register(WINDOWS, windows_attention)
