"""What the coordinates that a policy writes count in, and where they lie in the original picture."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]
"""(width, height) in pixels."""

COORDINATES = {
    "shown": "",
    "original": " Coordinates count in pixels of the original, which is {}x{}.",
    "relative_1000": " Coordinates count in thousandths of width and height.",
}
"""What the prompt says of each; pixels as shown need no saying, since the prompt states that size."""


@dataclass(frozen=True)
class Frame:
    """One picture's frame. extent: what the coordinates of the right and the lower border are.

    original: the size of the original. coordinates: one of ``COORDINATES``.
    """

    coordinates: str
    extent: Size
    original: Size

    @classmethod
    def of(cls, coordinates: str, shown: Size, original: Size) -> Frame:
        """The frame of a picture of size ``original`` that the policy sees at size ``shown``."""
        extents = {"shown": shown, "original": original, "relative_1000": (1000, 1000)}
        return cls(coordinates, extents[coordinates], original)

    @property
    def sentence(self) -> str:
        """What the prompt says of it; empty where nothing needs saying."""
        return COORDINATES[self.coordinates].format(*self.original)

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """A place in the frame, in original pixels."""
        return x * self.original[0] / self.extent[0], y * self.original[1] / self.extent[1]
