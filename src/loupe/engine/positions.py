"""M-RoPE positions (arXiv 2409.12191 §2.1) of parts of a sequence, which are passed to the model explicitly."""

import numpy as np

from loupe.records import ImagePatches


def mrope_positions(
    ids: list[int], images: list[ImagePatches], start: int, image_token: int, merge: int
) -> tuple[np.ndarray, int]:
    """The positions [3, T] of tokens that begin at position ``start``, and the position of the token after them.

    Text advances all three channels by one per token. A picture of h x w merged cells keeps the temporal channel
    constant and counts rows and columns in the other two; the text after it continues at the picture's first position
    plus max(h, w). On whole sequences this equals transformers' ``get_rope_index``; it also works on parts of one.
    """
    if not images:
        return np.arange(start, start + len(ids)) + np.zeros((3, 1), dtype=np.int64), start + len(ids)
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
