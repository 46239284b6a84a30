"""The zoom tool (arXiv 2506.14821): a square of the original picture, centred on a predicted keypoint.

Parsing the call, locating the point and placing the box are separate pure functions; ``ZoomTool.run`` strings
them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from loupe.errors import require_choice, require_int
from loupe.geometry import COORDINATES, Box, Frame
from loupe.pictures import FILTER, REDUCING_GAP
from loupe.tools import ToolResult
from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call, parse_call, read_keypoint


@dataclass(frozen=True)
class ZoomTool:
    """Cuts ``crop`` x ``crop`` pixels out of the original picture, whatever size the model was shown.

    crop: side of the square, original pixels.
    output_size: long side at which the cut-out is shown; None shows it as large as the whole picture was.
    coordinates: the frame of the keypoint. "shown": pixels of the picture as the model was shown it;
        "original": pixels of the original; "relative_1000": thousandths of width and height.
    pixels: whose pixels are handed back. "original"; or "shown", those of the picture as the model was shown it,
        enlarged: a control in which a zoom tells nothing new.
    max_calls: how many calls a trajectory may make.
    instruction: how the system prompt explains the tool.
    """

    crop: int
    output_size: int | None = None
    coordinates: str = "shown"
    pixels: str = "original"
    max_calls: int = 1
    instruction: str = ""
    name: ClassVar[str] = "zoom"

    def __post_init__(self) -> None:
        require_int("crop", self.crop, 1)
        require_int("tool.max_calls", self.max_calls, 0)
        if self.output_size is not None:
            require_int("tool.output_size", self.output_size, 1)
        if self.max_calls == 0:  # a tool that may not be called is not explained
            object.__setattr__(self, "instruction", "")
        require_choice("coordinates", self.coordinates, COORDINATES)
        require_choice("tool.pixels", self.pixels, ("original", "shown"))

    def parse(self, text: str) -> Call | Failure:
        """``text``: what stands between <tool> and </tool>."""
        return parse_call(text, self.name, {"keypoint": read_keypoint})

    def run(self, text: str, picture: Image.Image, shown_size: tuple[int, int]) -> ToolResult | Failure:
        """Parse and execute one call.

        picture: the original, full resolution. shown_size: (width, height) at which the model was shown it.
        """
        call = self.parse(text)
        if isinstance(call, Failure):
            return call
        point = locate(call.arguments["keypoint"], Frame.of(self.coordinates, shown_size, picture.size))
        if isinstance(point, Failure):
            return point
        return self.cut(point, picture, shown_size, call.arguments)

    def cut(
        self, point: tuple[float, float], picture: Image.Image, shown_size: tuple[int, int], arguments: dict
    ) -> ToolResult:
        """What a call with these ``arguments`` that points at ``point`` (original pixels) hands back."""
        box = crop_box(point, self.crop, picture.size)
        return ToolResult(
            image=picture.crop(box) if self.pixels == "original" else shown_crop(picture, shown_size, box),
            long_side=self.output_size or max(shown_size),
            arguments=arguments,
            keypoint=point,
            box=box,
        )


@dataclass(frozen=True)
class NoTool:
    """No tool at all, behind the same interface: every attempted call fails.

    coordinates: the frame of the places in an answer.
    """

    coordinates: str = "shown"
    name: ClassVar[str] = "none"
    max_calls: ClassVar[int] = 0
    instruction: ClassVar[str] = ""

    def __post_init__(self) -> None:
        require_choice("coordinates", self.coordinates, COORDINATES)

    def run(self, text: str, picture: Image.Image, shown_size: tuple[int, int]) -> Failure:
        return Failure(CallError.UNKNOWN_TOOL, "Error: there is no tool.")


def shown_crop(picture: Image.Image, shown_size: tuple[int, int], box: Box) -> Image.Image:
    """The part ``box`` of ``picture``, of the box's size, but made of the pixels of the picture as shown."""
    shown = picture.resize(shown_size, FILTER, reducing_gap=REDUCING_GAP)
    across, down = (s / o for s, o in zip(shown_size, picture.size, strict=True))
    part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return shown.resize((box[2] - box[0], box[3] - box[1]), FILTER, box=part)


def locate(keypoint: list[int], frame: Frame) -> tuple[float, float] | Failure:
    """The point (x, y) in original pixels that ``keypoint`` means; a failure if it is outside the picture.

    A keypoint in pixels means the pixel's centre: x becomes (x + 0.5) * W_o / W, valid for 0 <= x < W. A relative one
    is valid from 0 to 1000 inclusive: x becomes x / 1000 * W_o.
    """
    relative = frame.coordinates == "relative_1000"
    ends = (value - 1 + relative for value in frame.extent)
    if not all(0 <= value <= end for value, end in zip(keypoint, ends, strict=True)):
        extent = "the range 0 to 1000" if relative else f"the {frame.extent[0]}x{frame.extent[1]} picture"
        message = f"Error: the keypoint {keypoint} lies outside {extent}."
        return Failure(CallError.OUT_OF_BOUNDS, message, {"keypoint": keypoint})
    shift = 0.0 if relative else 0.5
    return frame.to_original(keypoint[0] + shift, keypoint[1] + shift)


def crop_box(center: tuple[float, float], size: int, original_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A ``size`` x ``size`` box (x1, y1, x2, y2; original pixels, x2 and y2 exclusive) around ``center``.

    It is shifted inwards at the borders, and smaller where the picture is smaller than ``size``.
    """
    spans = []
    for middle, length in zip(center, original_size, strict=True):
        side = min(size, length)
        start = min(max(math.floor(middle - side / 2), 0), length - side)
        spans.append((start, start + side))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
