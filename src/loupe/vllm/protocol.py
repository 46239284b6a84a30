"""What goes to an engine and comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from loupe.engine.decoder import Sampling
from loupe.records import ImagePatches

PICTURES = 16
"""The most pictures in one dialogue."""


@dataclass(frozen=True)
class Request:
    """A dialogue to go on with. ids: with placeholders, one for each merged cell. pictures: behind them, in order.
    stops: texts that end the turn. max_tokens: that may be written.
    """

    ids: list[int]
    pictures: list[Image.Image]
    seed: int
    stops: tuple[str, ...]
    max_tokens: int


def request(ids: list[int], images: list[ImagePatches], seed: int, stops: tuple[str, ...], max_tokens: int) -> Request:
    """A request with the pictures themselves. Raises ValueError for light copies, which do not hold them."""
    pictures = [image.shown for image in images if image.shown is not None]
    if len(pictures) < len(images):
        raise ValueError("a light copy of a picture cannot be shown")
    return Request(ids, pictures, seed, stops, max_tokens)


@dataclass(frozen=True)
class Written:
    """One turn. read: the tokens that the engine read. ids, logprobs: of what it wrote."""

    read: list[int]
    ids: list[int]
    logprobs: list[float]


class Engine(Protocol):
    """What the decoder needs of an engine. dtype: that it computes in."""

    dtype: torch.dtype

    def write(self, requests: Sequence[Request], sampling: Sampling) -> list[Written]:
        """Go on with each of the dialogues for one turn."""
        ...

    def refresh(self) -> None:
        """Take over the policy's weights, and forget everything that was computed with others."""

    def reset(self) -> None:
        """Forget everything that was computed: keys, values and features of pictures."""

    def release(self) -> None:
        """Free the memory of a GPU until something is written again."""
