"""Boxes and points, and the coordinate frames in which a policy writes them."""

from dataclasses import dataclass

from PIL import Image

Point = tuple[float, float]
"""x, y in pixels of a picture."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the original picture; x2 and y2 are exclusive."""

Size = tuple[int, int]
"""(width, height) in pixels."""

COORDINATES = {
    "shown": "",
    "original": " Coordinates count in pixels of the original, which is {}x{}.",
    "relative_1000": " Coordinates count in thousandths of width and height.",
}
"""The coordinate frames, and the sentence about each in the prompt. Pixels as shown need none, because the prompt
states that size."""


def middle(box: Box) -> tuple[float, float]:
    """The center (x, y) of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    """The area of a box; 0 for one without width or height."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(one: Box, other: Box) -> float:
    """The area of the intersection of two boxes."""
    return area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


@dataclass(frozen=True)
class Frame:
    """The coordinate frame of one picture.

    coordinates: one of ``COORDINATES``. extent: the coordinates of the right and the bottom edge. original: the size
    of the original picture.
    """

    coordinates: str
    extent: Size
    original: Size

    @classmethod
    def of(cls, coordinates: str, shown: Size, original: Size) -> "Frame":
        """The frame of a picture of size ``original`` that is shown to the policy at size ``shown``."""
        extents = {"shown": shown, "original": original, "relative_1000": (1000, 1000)}
        return cls(coordinates, extents[coordinates], original)

    @property
    def sentence(self) -> str:
        """The sentence about the frame in the prompt; may be empty."""
        return COORDINATES[self.coordinates].format(*self.original)

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """The point (x, y) of this frame in original pixels."""
        return x * self.original[0] / self.extent[0], y * self.original[1] / self.extent[1]

    def of_original(self, box: Box) -> list[int]:
        """``box`` of the original, rounded to whole numbers of this frame."""
        scale = [extent / side for extent, side in zip(self.extent, self.original, strict=True)] * 2
        return [round(value * s) for value, s in zip(box, scale, strict=True)]


@dataclass(frozen=True)
class View:
    """A picture that was shown to the policy, as a tool finds it.

    picture: at full resolution. shown: its size as the policy saw it. frame: the coordinates in which the policy points
    at it. region: the part of the question's picture that it shows, in that picture's pixels; None if it is another
    picture, or was turned. depth: calls that led to it; 0 for a picture of the prompt.
    """

    picture: Image.Image
    shown: Size
    frame: Frame
    region: Box | None = None
    depth: int = 0

    @classmethod
    def of(
        cls, picture: Image.Image, shown: Size, coordinates: str, region: Box | None = None, depth: int = 0
    ) -> "View":
        """A view in one of the ``COORDINATES``."""
        return cls(picture, shown, Frame.of(coordinates, shown, picture.size), region, depth)

    @classmethod
    def of_question(cls, picture: Image.Image, shown: Size, coordinates: str) -> "View":
        """The picture of the question."""
        return cls.of(picture, shown, coordinates, (0, 0, *picture.size))

    def place(self, point: Point | None) -> Point | None:
        """A point of this picture in pixels of the question's picture; None if there is none."""
        if point is None or self.region is None:
            return None
        x1, y1, x2, y2 = self.region
        width, height = self.picture.size
        if (x2 - x1, y2 - y1) == (width, height):  # at the same scale, so whole numbers stay whole
            return point[0] + x1, point[1] + y1
        return x1 + point[0] * (x2 - x1) / width, y1 + point[1] * (y2 - y1) / height

    def place_box(self, box: Box | None) -> Box | None:
        """A box of this picture in pixels of the question's picture; None if there is none."""
        if box is None:
            return None
        first, last = self.place(box[:2]), self.place(box[2:])
        return (*first, *last) if first and last else None
