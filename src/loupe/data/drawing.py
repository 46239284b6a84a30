"""The pixels of rendered street signs (see ``scenes``): the light, the clutter and the signs."""

from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loupe.geometry import Box, Size

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (200, 40, 40),
    "green": (40, 150, 60),
    "blue": (40, 70, 200),
    "yellow": (225, 200, 40),
    "orange": (235, 130, 30),
    "purple": (130, 50, 160),
    "cyan": (40, 190, 200),
    "pink": (240, 130, 180),
}


@lru_cache(maxsize=4)
def light(canvas: Size) -> tuple[Image.Image, Image.Image]:
    """The red channel, which rises from left to right, and the blue one, which rises from top to bottom."""
    width, height = canvas
    dark, bright = 60, 210
    across, down = ((dark + (bright - dark) * np.arange(n) // n).astype(np.uint8) for n in canvas)
    return Image.fromarray(np.tile(across, (height, 1))), Image.fromarray(np.tile(down[:, None], (1, width)))


def draw_clutter(draw: ImageDraw.ImageDraw, rng: Random, canvas: Size) -> None:
    """Draw a plain, nearly gray rectangle in a random place."""
    x, y = (rng.randrange(side) for side in canvas)
    w, h = rng.randint(60, 500), rng.randint(60, 500)
    gray = rng.randint(60, 220)
    fill = (gray, gray + rng.randint(-15, 15), gray + rng.randint(-15, 15))
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=fill)


def draw_sign(draw: ImageDraw.ImageDraw, box: Box, color: str, text: str, font_size: int) -> None:
    """Draw a sign of one of the ``COLORS`` that fills ``box``, with ``text`` in its center."""
    x1, y1, x2, y2 = box
    fill, outline = COLORS[color], (20, 20, 20)
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill, outline, width=font_size // 20)
    font = _font(font_size)
    left, top, right, bottom = font.getbbox(text)
    at = ((x1 + x2 - left - right) // 2, (y1 + y2 - top - bottom) // 2)
    draw.text(at, text, fill=_ink(fill), font=font)


@lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, laid out by its basic engine, so that an installed raqm changes nothing."""
    font = ImageFont.load_default(size)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)  # type: ignore[union-attr]  # with a size: FreeType


def _ink(background: RGB) -> RGB:
    """White or near-black, whichever stands out (luma weights of ITU-R BT.601)."""
    luma = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), background, strict=True))
    return (10, 10, 10) if luma > 128 else (255, 255, 255)
