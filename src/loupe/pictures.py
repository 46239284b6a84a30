"""Opening pictures, resizing them to the patch grid, and drawing on them. Pure functions on PIL images.

The project resizes to the patch grid itself, so that transformers' image processor never has to, and the model sees the
same pixels whichever image-processor backend is installed.
"""

import io
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from loupe.errors import BadExample
from loupe.geometry import Box, Point, Size

MAX_PIXELS = 200_000_000
FILTER = Image.Resampling.BICUBIC
"""Pillow widens the kernel when it reduces a picture, so this is antialiased."""
REDUCING_GAP = 3.0
"""Large pictures are first averaged over whole blocks, down to this many times the final size. This is five times as
fast and changes no value of a rendered sign by more than 3 of 255."""

UNREADABLE = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow's decoders raise on corrupt data, found by flipping bytes in files of every common format."""

_PILLOW_LIMIT = threading.Lock()


class Renderable(Protocol):
    """A picture that is drawn when it is needed."""

    def render(self) -> Image.Image: ...


def open_picture(source: Path | str | bytes | Renderable) -> Image.Image:
    """The picture as RGB, turned upright by its EXIF tag; transparent parts become white.

    source: a file, an encoded picture, or an object that draws itself.
    Raises BadExample for a file that is missing, corrupt, empty or above ``MAX_PIXELS``. An exception that a
    Renderable raises is a bug and passes through.
    """
    if isinstance(source, str | Path | bytes):
        return _decode(source)
    image = source.render()
    _check_size(image, f"<{type(source).__name__}>")
    return _to_rgb(image)


def format_and_size(data: bytes) -> tuple[str | None, Size]:
    """The format of an encoded picture, as Pillow calls it, and its (width, height), from the header alone.

    Raises BadExample for what is no picture, and for one that is empty or above ``MAX_PIXELS``.
    """
    with _opened(data) as image:
        return image.format, image.size


def _decode(source: Path | str | bytes) -> Image.Image:
    with _opened(source) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


@contextmanager
def _opened(source: Path | str | bytes) -> Iterator[Image.Image]:
    """The picture of an acceptable size, still to be decoded; what Pillow raises meanwhile becomes a BadExample."""
    name = f"<picture of {len(source)} bytes>" if isinstance(source, bytes) else str(source)
    try:
        with _open_lazily(source) as image:
            _check_size(image, name)
            yield image
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.strerror:
            raise BadExample(f"{name}: {error.strerror}; check the path of the picture") from error
        raise BadExample(f"{name}: corrupt, truncated or not a picture; replace it or drop the row") from error


def _open_lazily(source: Path | str | bytes) -> Image.Image:
    """Read only the header. Pillow's own limit (179 megapixels) is below ours, so it is suspended meanwhile."""
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadExample(f"{name}: {width}x{height} pixels; use a picture of 1 to {MAX_PIXELS // 10**6} million pixels")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Pillow's ``convert`` clips 16-bit gray at 255 and drops alpha onto black; this does neither."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image) // 257, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def grid_size(width: float, height: float, long_side: int, factor: int = 28, enlarge: bool = False) -> Size:
    """(width, height) on the patch grid: the longer side near ``long_side``, both multiples of ``factor``.

    A picture smaller than ``long_side`` keeps its size, unless ``enlarge``. Each side is then rounded to the nearest
    multiple (halves up, at least one ``factor``), so it may exceed ``long_side`` by up to half a ``factor``. For
    example, 1600x1200 at 112 gives 112x84.
    """
    longest = max(width, height)
    target = long_side if enlarge else min(long_side, longest)
    columns, rows = (max(1, int(side * target / (longest * factor) + 0.5)) for side in (width, height))
    return columns * factor, rows * factor


def resize_to_grid(
    image: Image.Image, long_side: int, factor: int, enlarge: bool = False, aspect: float | None = None
) -> Image.Image:
    """``image`` at its ``grid_size``, resampled once with ``FILTER``.

    aspect: width by height, if not that of the image; the longer side stays as long as it is.
    """
    width, height = map(float, image.size)
    if aspect is not None:
        longest = max(width, height)
        width, height = longest * min(1.0, aspect), longest / max(1.0, aspect)
    size = grid_size(width, height, long_side, factor, enlarge)
    return image.resize(size, FILTER, reducing_gap=REDUCING_GAP)


class Aimed(Protocol):
    """Where a call looked, in pixels of the picture: a ``ToolEvent`` or a ``ToolResult``."""

    @property
    def keypoint(self) -> Point | None: ...
    @property
    def box(self) -> Box | None: ...


def draw_calls(picture: Image.Image, calls: Iterable[Aimed], width: int = 640) -> Image.Image:
    """``picture`` reduced to at most ``width`` pixels across, with the boxes of ``calls`` and a ring around each of
    their keypoints, as far as they have them. What a ring surrounds stays visible.
    """
    scale = min(1.0, width / picture.width)
    size = (round(picture.width * scale), max(1, round(picture.height * scale)))
    drawn = picture.resize(size, FILTER)
    line, thin, draw = max(1, drawn.width // 160), max(1, drawn.width // 320), ImageDraw.Draw(drawn)
    for call in calls:
        if call.box:
            left, top, right, bottom = (side * scale for side in call.box)
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline="red", width=line)
        if call.keypoint:
            x, y = (coordinate * scale for coordinate in call.keypoint)
            draw.circle((x, y), 7 * line, outline="red", width=2 * thin)
            draw.circle((x, y), 7 * line - thin, outline="yellow", width=thin)
    return drawn


def side_by_side(pictures: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """One or more pictures in a row on white, at their own sizes, ``gap`` pixels apart."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row, left = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white"), 0
    for picture in pictures:
        row.paste(picture, (left, (row.height - picture.height) // 2))
        left += picture.width + gap
    return row
