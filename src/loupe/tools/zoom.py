"""The zoom tool (arXiv 2506.14821): crops a square of the original picture around a keypoint that the policy predicts,
or a box that it draws.

Locating what the policy points at and placing the crop are separate pure functions; ``ZoomTool.run`` combines them.
"""

import math
from dataclasses import dataclass, field

from PIL import Image

from loupe.errors import require_choice, require_int
from loupe.geometry import Box, Frame, Point, Size, View, middle
from loupe.pictures import FILTER, MAX_PIXELS, REDUCING_GAP
from loupe.tools import ToolResult
from loupe.tools.arguments import BOX, KEYPOINT, Argument
from loupe.tools.errors import CallError, Failure
from loupe.tools.forms import FORMS

AIMS = {"keypoint": KEYPOINT, "box": BOX}
AGAIN = 0.5
"""Of the shorter side of a crop: the most that a zoom into it shows. Otherwise it would show the whole crop again."""


@dataclass(frozen=True)
class ZoomTool:
    """Crops the original picture, at whatever size the policy sees it.

    crop: side of the square around a keypoint, in original pixels; in a zoom into a crop, at most half of its shorter
    side. call: the form of calls (``forms.FORMS``), which decides whether the policy gives a keypoint or a box.
    output_size: long side at which the crop is shown; None shows it at the long side of the whole picture.
    pixels: the source of the crop. "original", or "shown": the picture as the policy sees it, enlarged; a control in
        which zooming reveals nothing new.
    instruction: see :class:`Tool`.
    Raises UserError for settings outside these values.
    """

    crop: int
    output_size: int | None = None
    pixels: str = "original"
    call: str = "keypoint_yaml"
    instruction: str = ""
    aim: str = field(init=False)

    def __post_init__(self) -> None:
        require_int("crop", self.crop, 1)
        if self.output_size is not None:
            require_int("tool.zoom.output_size", self.output_size, 1, math.isqrt(MAX_PIXELS))
        require_choice("tool.zoom.pixels", self.pixels, ("original", "shown"))
        object.__setattr__(self, "aim", FORMS[require_choice("tool.call", self.call, FORMS)].aim)

    @property
    def arguments(self) -> dict[str, Argument]:
        return {self.aim: AIMS[self.aim]}

    @property
    def description(self) -> str:
        square = f"a square of {self.crop}x{self.crop} pixels around the keypoint, shifted inward at the borders,"
        what = square if self.aim == "keypoint" else "the box"
        source = "the original picture" if self.pixels == "original" else "the resized picture (at its original size)"
        side = f"{self.output_size} pixels" if self.output_size else "that of the picture as shown"
        return f"cuts {what} out of {source} and resizes its long side to {side}"

    def run(self, arguments: dict, view: View) -> ToolResult | Failure:
        """Execute one call; see :class:`Tool`."""
        if self.aim == "box":
            box = locate_box(arguments["box"], view.frame)
            return box if isinstance(box, Failure) else self._result(box, None, view)
        point = locate(arguments["keypoint"], view.frame)
        return point if isinstance(point, Failure) else self.cut(point, view)

    def aimed_at(self, target: Box, view: View) -> ToolResult:
        """The result of a call that points at the middle of ``target`` (pixels of the view), or that draws it."""
        if self.aim == "keypoint":
            return self.cut(middle(target), view)
        left, top, right, bottom = target
        return self._result((math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)), None, view)

    def cut(self, point: Point, view: View) -> ToolResult:
        """The square around a point of the view's picture."""
        size = view.picture.size
        side = min(self.crop, math.ceil(AGAIN * min(size))) if view.depth else self.crop
        return self._result(crop_box(point, side, size), point, view)

    def _result(self, box: tuple[int, int, int, int], keypoint: Point | None, view: View) -> ToolResult:
        picture = view.picture
        image = picture.crop(box) if self.pixels == "original" else shown_crop(picture, view.shown, box)
        return ToolResult(image, long_side=self.output_size, keypoint=keypoint, box=box)


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
        return Failure(CallError.OUT_OF_BOUNDS, message)
    shift = 0.0 if relative else 0.5
    return frame.to_original(keypoint[0] + shift, keypoint[1] + shift)


def locate_box(box: list[int], frame: Frame) -> tuple[int, int, int, int] | Failure:
    """The original pixels that ``box`` (x1, y1, x2, y2 in the frame, x2 and y2 exclusive) covers at least in part; a
    failure if it is empty or extends beyond the picture.
    """
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        return Failure(CallError.BAD_ARGUMENT, f"Error: the box {box} is empty; give [x1, y1, x2, y2].")
    if x1 < 0 or y1 < 0 or x2 > frame.extent[0] or y2 > frame.extent[1]:
        width, height = frame.extent
        return Failure(CallError.OUT_OF_BOUNDS, f"Error: the box {box} extends beyond the {width}x{height} picture.")
    (left, top), (right, bottom) = frame.to_original(x1, y1), frame.to_original(x2, y2)
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def crop_box(center: tuple[float, float], size: int, original_size: Size) -> tuple[int, int, int, int]:
    """A ``size`` x ``size`` box (x1, y1, x2, y2; original pixels, x2 and y2 exclusive) around ``center``.

    It is shifted inward at the borders, and smaller where the picture itself is smaller than ``size``.
    """
    width, height = (min(size, length) for length in original_size)
    left = min(max(math.floor(center[0] - width / 2), 0), original_size[0] - width)
    top = min(max(math.floor(center[1] - height / 2), 0), original_size[1] - height)
    return left, top, left + width, top + height
