"""The scenes of the rendered street signs: how they are laid out and drawn, each from a seed.

Two or three signs of different colors, each with a number, on a lit backdrop::

    1600 x 1200, red light from the left, blue light from below     question  What number is on the red sign?
    +----------------------------------+                            answer    472
    |   [ 472 ]  red, small            |                            small     digits 56-76 px high: illegible
    |        +----------------+        |                                      in a reduced picture
    |        |     9 0 5      | blue,  |                            large     wider than a 400 px crop: legible
    |        +----------------+ large  |                                      in the overview, cut off by a zoom
    +----------------------------------+

Zooming therefore pays for small signs and not for large ones, so the policy to learn is conditional. The light
changes evenly with x and y, so that even a tiny vision tower can locate a sign.
"""

from dataclasses import dataclass, field
from functools import cached_property
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from loupe.data.drawing import COLORS, draw_clutter, draw_sign, light
from loupe.errors import UserError, require_int, require_number
from loupe.geometry import Box, Size
from loupe.pictures import MAX_PIXELS

FONT_SIZES = {"small": (80, 104), "large": (340, 400)}
ADVANCE, MARGIN, HEIGHT = 0.58, 0.35, 1.42
"""The width of a digit, the space on either side of a number, and the height of a sign, in font sizes."""
GAP, STEP = 10, 8
"""The least distance between two signs, and between the positions that a sign may take, in pixels."""
MIN_CANVAS = (1600, 1200)
MAX_CLUTTER = 10_000
MAX_SIGNS, MAX_LARGE, MAX_DIGITS = 4, 2, 3
"""What always fits on ``MIN_CANVAS``, wherever the signs fall."""


@dataclass(frozen=True)
class SceneStyle:
    """The options that shape a scene; the same for every picture of a data set. Pairs may be given as lists.

    colors: names of ``COLORS``; may be given as a number, which stands for the first ones.
    n_signs: fewest and most signs in a picture.
    digits: of each number; no number starts with a zero.
    p_small: the probability that the sign in question is small. The other signs follow it too, but at most two signs
        are large.
    canvas: width and height in pixels, at least 1600 x 1200; signs keep their size on a larger one.
    clutter: the number of plain rectangles behind the signs.
    """

    colors: tuple[str, ...] = tuple(COLORS)
    n_signs: tuple[int, int] = (2, 3)
    digits: int = 3
    p_small: float = 0.6
    canvas: Size = MIN_CANVAS
    clutter: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "colors", _checked_colors(self.colors))
        object.__setattr__(self, "n_signs", _checked_n_signs(self.n_signs))
        object.__setattr__(self, "canvas", _checked_canvas(self.canvas))
        if self.n_signs[1] > len(self.colors):
            raise UserError(f"data.n_signs={list(self.n_signs)}: more signs than the {len(self.colors)} colors")
        if require_int("data.digits", self.digits, 1) > MAX_DIGITS:
            raise UserError(f"data.digits={self.digits}: must be {MAX_DIGITS} or less so that the signs fit")
        require_int("data.clutter", self.clutter, 0, MAX_CLUTTER)
        require_number("data.p_small", self.p_small, 0, 1)


@dataclass(frozen=True)
class Sign:
    """One sign: its color, its number, its box in pixels, and its ``size``, "small" or "large"."""

    color: str
    text: str
    box: Box
    size: str
    font_size: int


@dataclass(frozen=True)
class SignScene:
    """One picture, a function of (split, seed, index, style): the same pixels on every machine.

    Implements ``pictures.Renderable``. The layout is computed without drawing anything.
    """

    split: str
    seed: int
    index: int
    style: SceneStyle = field(default_factory=SceneStyle)

    @property
    def key(self) -> str:
        return f"{self.split}/{self.seed}/{self.index}"

    def rng(self, purpose: str) -> Random:
        """A separate random stream for each purpose (Random hashes a string seed with sha512)."""
        return Random(f"{self.key}/{purpose}")

    @cached_property
    def signs(self) -> tuple[Sign, ...]:
        """The layout; the question is about the first sign."""
        return self.laid_out("layout")

    def laid_out(self, purpose: str) -> tuple[Sign, ...]:
        """A layout of its own for each ``purpose``."""
        rng, style = self.rng(purpose), self.style
        count = rng.randint(*style.n_signs)
        colors = rng.sample(style.colors, count)
        sizes = _draw_sizes(rng, count, style.p_small)
        fonts = [rng.randint(*FONT_SIZES[size]) for size in sizes]
        texts = [str(rng.randrange(10 ** (style.digits - 1), 10**style.digits)) for _ in range(count)]
        boxes = _place(rng, sizes, [_extent(font, style.digits) for font in fonts], style.canvas)
        return tuple(map(Sign, colors, texts, boxes, sizes, fonts))

    @property
    def asked(self) -> Sign:
        """The sign that the question is about."""
        return self.signs[0]

    def render(self) -> Image.Image:
        """The picture, RGB: the light, the clutter on top of it, then the signs."""
        rng, canvas = self.rng("backdrop"), self.style.canvas
        red, blue = light(canvas)
        picture = Image.merge("RGB", (red, Image.new("L", canvas, rng.randint(90, 160)), blue))
        draw = ImageDraw.Draw(picture)
        for _ in range(self.style.clutter):
            draw_clutter(draw, rng, canvas)
        for sign in self.signs:
            draw_sign(draw, sign.box, sign.color, sign.text, sign.font_size)
        return picture


def _checked_colors(colors: object) -> tuple[str, ...]:
    if isinstance(colors, (list, tuple)):
        unknown = [name for name in colors if name not in COLORS]
        if unknown or not colors or len(set(colors)) < len(colors):
            raise UserError(f"data.colors={list(colors)}: must be different names out of {', '.join(COLORS)}")
        return tuple(colors)
    count = require_int("data.colors", colors, 1)
    if count > len(COLORS):
        raise UserError(f"data.colors={count}: there are only {len(COLORS)}")
    return tuple(COLORS)[:count]


def _checked_n_signs(n_signs: object) -> tuple[int, int]:
    low, high = _checked_pair("n_signs", n_signs, (1, 1))
    if not low <= high <= MAX_SIGNS:
        raise UserError(f"data.n_signs={[low, high]}: must be [fewest, most], {MAX_SIGNS} or less")
    return low, high


def _checked_canvas(canvas: object) -> Size:
    width, height = _checked_pair("canvas", canvas, MIN_CANVAS)
    if width * height > MAX_PIXELS:
        raise UserError(f"data.canvas={[width, height]}: must have {MAX_PIXELS // 10**6} million pixels or less")
    return width, height


def _checked_pair(name: str, pair: object, minimum: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise UserError(f"data.{name}={pair}: must be two whole numbers, such as [{minimum[0]}, {minimum[1]}]")
    first, second = (require_int(f"data.{name}", value, least) for value, least in zip(pair, minimum, strict=True))
    return first, second


def _draw_sizes(rng: Random, count: int, p_small: float) -> list[str]:
    """ "small" or "large" for each sign; the first is drawn freely, so p_small holds for it exactly."""
    sizes: list[str] = []
    for _ in range(count):
        small = rng.random() < p_small or sizes.count("large") == MAX_LARGE
        sizes.append("small" if small else "large")
    return sizes


def _extent(font_size: int, digits: int) -> Size:
    """Width and height of a sign, not measured on the font, so that the layout cannot depend on its version."""
    return round((ADVANCE * digits + 2 * MARGIN) * font_size), round(HEIGHT * font_size)


def _place(rng: Random, sizes: list[str], extents: list[Size], canvas: Size) -> list[Box]:
    """A box for every sign, at least ``GAP`` apart, uniform over the free positions; large ones first.

    There is always a free position: two large signs keep to one half of the picture each, and a large sign leaves a
    strip of at least (1600 - 976) / 2 = 312 px beside it, which is more than a small sign's 254 px, GAP and STEP.
    """
    width, height = canvas
    halves = [(0, (height - GAP) // 2), ((height + GAP) // 2, height)]
    rng.shuffle(halves)
    crowded = sizes.count("large") == MAX_LARGE
    boxes: dict[int, Box] = {}
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i] == "small"):
        rows = halves.pop() if crowded and sizes[i] == "large" else (0, height)
        boxes[i] = _place_one(rng, extents[i], width, rows, list(boxes.values()))
    return [boxes[i] for i in range(len(sizes))]


def _place_one(rng: Random, extent: Size, width: int, rows: tuple[int, int], taken: list[Box]) -> Box:
    w, h = extent
    x = np.arange(0, width - w + 1, STEP)[None, :]
    y = np.arange(rows[0], rows[1] - h + 1, STEP)[:, None]
    free = np.ones((y.size, x.size), dtype=bool)
    for x1, y1, x2, y2 in taken:
        free &= (x + w + GAP <= x1) | (x >= x2 + GAP) | (y + h + GAP <= y1) | (y >= y2 + GAP)
    cells = np.flatnonzero(free)
    row, column = divmod(int(cells[rng.randrange(cells.size)]), x.size)
    left, top = int(x[0, column]), int(y[row, 0])
    return left, top, left + w, top + h
