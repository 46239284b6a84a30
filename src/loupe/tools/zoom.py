"""The zoom tool (arXiv 2506.14821): crops a square of the original picture around a keypoint that the policy predicts.

Parsing the call, locating the point and placing the box are separate pure functions; ``ZoomTool.run`` combines them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from loupe.errors import UserError, require_choice, require_int
from loupe.geometry import COORDINATES, Frame, Size
from loupe.pictures import FILTER, MAX_PIXELS, REDUCING_GAP
from loupe.tools import ToolResult
from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call, parse_call, read_keypoint


@dataclass(frozen=True)
class ZoomTool:
    """Crops ``crop`` x ``crop`` pixels out of the original picture, at whatever size the policy sees it.

    crop: side of the square, in original pixels.
    output_size: long side at which the crop is shown; None shows it at the long side of the whole picture.
    pixels: the source of the crop. "original", or "shown": the picture as the policy sees it, enlarged; a control in
        which zooming reveals nothing new.
    coordinates, max_calls, instruction: see :class:`Tool`.
    Raises UserError for settings outside these values.
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
            require_int("tool.output_size", self.output_size, 1, math.isqrt(MAX_PIXELS))
        if not isinstance(self.instruction, str):
            raise UserError(f"tool.instruction={self.instruction}: must be text")
        if self.max_calls == 0:  # the prompt does not explain a tool that may not be called
            object.__setattr__(self, "instruction", "")
        require_choice("coordinates", self.coordinates, COORDINATES)
        require_choice("tool.pixels", self.pixels, ("original", "shown"))

    @classmethod
    def write(cls, keypoint: Sequence[int] | str) -> str:
        """The inverse of :meth:`parse`. keypoint: [x, y], or any other text for a call that is meant to fail."""
        return f"\nname: {cls.name}\nkeypoint: {keypoint if isinstance(keypoint, str) else list(keypoint)}\n"

    @classmethod
    def parse(cls, text: str) -> Call | Failure:
        """Parse ``text``, which stands between <tool> and </tool>."""
        return parse_call(text, cls.name, {"keypoint": read_keypoint})

    def run(self, text: str, picture: Image.Image, shown_size: Size) -> ToolResult | Failure:
        """Parse and execute one call; see :meth:`Tool.run`."""
        call = self.parse(text)
        if isinstance(call, Failure):
            return call
        point = locate(call.arguments["keypoint"], Frame.of(self.coordinates, shown_size, picture.size))
        if isinstance(point, Failure):
            return point
        return self.cut(point, picture, shown_size, call.arguments)

    def cut(self, point: tuple[float, float], picture: Image.Image, shown_size: Size, arguments: dict) -> ToolResult:
        """The result of a call with these ``arguments`` that points at ``point`` (x, y), in original pixels."""
        box = crop_box(point, self.crop, picture.size)
        image = picture.crop(box) if self.pixels == "original" else shown_crop(picture, shown_size, box)
        return ToolResult(image, self.output_size or max(shown_size), arguments, point, box)


@dataclass(frozen=True)
class NoTool:
    """The absence of a tool, with the same interface: every call fails. ``coordinates`` is the frame of boxes."""

    coordinates: str = "shown"
    name: ClassVar[str] = "none"
    max_calls: ClassVar[int] = 0
    instruction: ClassVar[str] = ""

    def __post_init__(self) -> None:
        require_choice("coordinates", self.coordinates, COORDINATES)

    def run(self, text: str, picture: Image.Image, shown_size: Size) -> Failure:
        return Failure(CallError.UNKNOWN_TOOL, "Error: there is no tool.")


def shown_crop(picture: Image.Image, shown_size: Size, box: tuple[int, int, int, int]) -> Image.Image:
    """The part ``box`` of ``picture`` at the box's size, but made from the pixels of the picture as shown."""
    shown = picture.resize(shown_size, FILTER, reducing_gap=REDUCING_GAP)
    across, down = (s / o for s, o in zip(shown_size, picture.size, strict=True))
    part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return shown.resize((box[2] - box[0], box[3] - box[1]), FILTER, box=part)


def locate(keypoint: list[int], frame: Frame) -> tuple[float, float] | Failure:
    """The point (x, y) in original pixels that ``keypoint`` refers to; a failure if it lies outside the picture.

    A keypoint in pixels refers to the pixel's center: x becomes (x + 0.5) * W_o / W, valid for 0 <= x < W. A relative
    keypoint is valid from 0 to 1000 inclusive: x becomes x / 1000 * W_o.
    """
    relative = frame.coordinates == "relative_1000"
    ends = (value - 1 + relative for value in frame.extent)
    if not all(0 <= value <= end for value, end in zip(keypoint, ends, strict=True)):
        extent = "the range 0 to 1000" if relative else f"the {frame.extent[0]}x{frame.extent[1]} picture"
        message = f"Error: the keypoint {keypoint} lies outside {extent}."
        return Failure(CallError.OUT_OF_BOUNDS, message, {"keypoint": keypoint})
    shift = 0.0 if relative else 0.5
    return frame.to_original(keypoint[0] + shift, keypoint[1] + shift)


def crop_box(center: tuple[float, float], size: int, original_size: Size) -> tuple[int, int, int, int]:
    """A ``size`` x ``size`` box (x1, y1, x2, y2; original pixels, x2 and y2 exclusive) around ``center``.

    It is shifted inward at the borders, and smaller where the picture itself is smaller than ``size``.
    """
    width, height = (min(size, length) for length in original_size)
    left = min(max(math.floor(center[0] - width / 2), 0), original_size[0] - width)
    top = min(max(math.floor(center[1] - height / 2), 0), original_size[1] - height)
    return left, top, left + width, top + height
