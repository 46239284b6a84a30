"""What a rollout sees of a tool: it hands over the text of a call and gets a result or a failure back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from loupe.tools.errors import Failure


@dataclass(frozen=True)
class ToolResult:
    """What an executed call hands back.

    image: the cut-out, still in pixels of the original picture, so that it is resampled exactly once, to the
        patch grid: ``pictures.resize_to_grid(image, long_side, factor, enlarge=True)``.
    long_side: how long the longer side is to be shown, in pixels.
    keypoint: (x, y) where the call pointed, original pixels.
    box: (x1, y1, x2, y2) what was cut out, original pixels; x2 and y2 are exclusive.
    """

    image: Image.Image
    long_side: int
    arguments: dict
    keypoint: tuple[float, float]
    box: tuple[int, int, int, int]


class Tool(Protocol):
    """max_calls: how many calls a trajectory may make; 0 means that there is no tool.

    instruction: how the system prompt explains the tool; may be empty. coordinates: what keypoints, and places in
    an answer, count in (``frames.COORDINATES``).
    """

    name: str
    max_calls: int
    instruction: str
    coordinates: str

    def run(self, text: str, picture: Image.Image, shown_size: tuple[int, int]) -> ToolResult | Failure: ...
