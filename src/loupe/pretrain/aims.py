"""Where the teacher points and which boxes it draws, in pixels of a picture as shown, and how it errs."""

from dataclasses import dataclass
from random import Random

from loupe.geometry import Box, Frame, Point, Size
from loupe.tools.zoom import crop_box

SPREAD = 80
"""Standard deviation of its aims around what it points at, along each axis, in pixels of the original."""
CARELESS = 0.6
"""Its careless boxes are too large, on each side by up to this share of the sign's width or height."""

Aim = list[int] | str
"""What a call is aimed with: [x, y], [x1, y1, x2, y2], or the text of a call that is meant to fail."""


@dataclass(frozen=True)
class Aims:
    """What the teacher writes about places in a picture.

    kind: what calls are aimed with, "keypoint" or "box". crop: the side of the square that a zoom is to show, in pixels
    of the original; None if there is no tool. shown, original: (width, height) of the picture as shown and at first.
    """

    kind: str
    crop: int | None
    shown: Size
    original: Size

    def keypoint(self, point: Point) -> list[int]:
        """``point`` of the original, as shown."""
        return keypoint_of(point, self.shown, self.original)

    def box(self, box: Box) -> list[int]:
        """``box`` of the original, as shown."""
        return Frame.of("shown", self.shown, self.original).of_original(box)

    def at(self, point: Point) -> list[int]:
        """A keypoint, or the box that it would have shown, so that lessons show the same in all forms of calls."""
        if self.kind == "keypoint":
            return self.keypoint(point)
        if self.crop is None:
            raise ValueError("without a tool there is no size of a crop")
        return self.box(crop_box(point, self.crop, self.original))

    def near(self, point: Point, rng: Random, pull: float = 0.0) -> list[int]:
        """An aim at ``point``, or pulled away from it towards the middle of the picture, give or take ``SPREAD``."""
        aims = (at + pull * (side / 2 - at) for at, side in zip(point, self.original, strict=True))
        x, y = (aim + rng.gauss(0, SPREAD) for aim in aims)
        return self.at((x, y))

    def bad(self, rng: Random) -> Aim:
        """Out of bounds, a number or two short, or no list."""
        width, height = self.shown
        outside = [rng.randint(width, 3 * width), rng.randint(0, height - 1)]
        short = [rng.randint(0, width - 1)]
        if self.kind == "box":
            outside = [*outside, outside[0] + width // 4, outside[1] + height // 4]
            short = [*short, outside[1]]
        choices: list[Aim] = [outside, str(short), "here"]
        return rng.choice(choices)


def keypoint_of(point: Point, shown_size: Size, original_size: Size) -> list[int]:
    """The shown pixel that contains ``point`` of the original picture, or the nearest one for a point outside."""
    scaled = (int(p * s // o) for p, s, o in zip(point, shown_size, original_size, strict=True))
    return [min(max(value, 0), side - 1) for value, side in zip(scaled, shown_size, strict=True)]


def careless_box(box: Box, size: Size, rng: Random) -> Box:
    """``box`` with a random margin on each side, clipped to the picture of ``size``."""
    x1, y1, x2, y2 = box
    left, up, right, down = (rng.uniform(0, CARELESS) * side for side in (x2 - x1, y2 - y1) * 2)
    return max(0, x1 - left), max(0, y1 - up), min(size[0], x2 + right), min(size[1], y2 + down)
