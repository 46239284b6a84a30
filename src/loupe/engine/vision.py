"""The vision tower, computed in few large operations instead of many small ones; the results are the same."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface

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
    outs, places = [], []
    for size in sizes.unique().tolist():
        tokens = starts[sizes == size][:, None] + torch.arange(size, device=starts.device)
        q, k, v = (tensor[0][:, tokens].transpose(0, 1) for tensor in (query, key, value))  # [windows, heads, size, d]
        outs.append(F.scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1))
        places.append(tokens.flatten())
    return torch.cat(outs)[torch.cat(places).argsort()][None], None


AttentionInterface.register(WINDOWS, windows_attention)
