"""Rendered street signs: pictures with an answer that is known, drawn from a seed, nothing downloaded.

Two or three signs of different colours, a number on each, stand on a lit backdrop::

    1600 x 1200, red light from the left, blue light from below     question  What number is on the red sign?
    +----------------------------------+                            answer    472
    |   [ 472 ]  red, small            |                            small     digits 56-76 px high: lost when
    |        +----------------+        |                                      the picture is shown small
    |        |     9 0 5      | blue,  |                            large     wider than a 400 px crop: read
    |        +----------------+ large  |                                      in the overview, cut by a zoom
    +----------------------------------+

So zooming pays for the small signs and does not for the large ones: the policy to learn is conditional.
The light changes evenly with x and y, so that even a tiny vision tower can tell where a sign stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch.utils.data import Dataset

from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.errors import UserError, is_number, require_int
from loupe.geometry import Box
from loupe.records import Example

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
FONT_SIZES = {"small": (80, 104), "large": (340, 400)}
ADVANCE, MARGIN, HEIGHT = (
    0.58,
    0.35,
    1.42,
)  # of a digit; left and right of the number; of the sign. In font sizes
GAP = 10  # pixels between two signs, at least
STEP = 8  # pixels between the positions a sign may take
LIGHT = (60, 210)  # darkest and brightest value of the red and blue light
MIN_CANVAS = (1600, 1200)
MAX_SIGNS, MAX_LARGE, MAX_DIGITS = 4, 2, 3  # what MIN_CANVAS has room for, however the signs fall
ANNOTATORS, MAX_DISSENT = 10, 3
LOOKALIKES = {
    "0": "689",
    "1": "247",
    "2": "137",
    "3": "258",
    "4": "179",
    "5": "368",
    "6": "058",
    "7": "129",
    "8": "036",
    "9": "047",
}


@dataclass(frozen=True)
class SceneStyle:
    """The options that shape a scene; the same for every picture of a data set.

    colors: how many of COLORS to use (the first ones), or their names.
    n_signs: fewest and most signs in a picture.
    digits: of each number; no number starts with a zero.
    p_small: how likely the sign that is asked about is small. The others follow it too, but at most two
        signs are large.
    canvas: width and height in pixels, at least 1600 x 1200; signs keep their size on a larger one.
    clutter: how many plain rectangles lie behind the signs.
    """

    colors: int | Sequence[str] = len(COLORS)
    n_signs: Sequence[int] = (2, 3)
    digits: int = 3
    p_small: float = 0.6
    canvas: Sequence[int] = MIN_CANVAS
    clutter: int = 3

    def __post_init__(self) -> None:
        checked = {
            "colors": _checked_colors(self.colors),
            "n_signs": _checked_n_signs(self.n_signs),
            "canvas": _checked_canvas(self.canvas),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.n_signs[1] > len(self.colors):
            raise UserError(f"data.n_signs={list(self.n_signs)}: more signs than the {len(self.colors)} colors")
        if require_int("data.digits", self.digits, 1) > MAX_DIGITS:
            raise UserError(f"data.digits={self.digits}: must be {MAX_DIGITS} or less, for the signs to fit")
        require_int("data.clutter", self.clutter, 0)
        if not is_number(self.p_small) or not 0 <= self.p_small <= 1:
            raise UserError(f"data.p_small={self.p_small}: must be a number from 0 to 1")


@dataclass(frozen=True)
class Sign:
    """One sign: its colour and number, where it stands, ``size`` "small" or "large"."""

    color: str
    text: str
    box: Box
    size: str
    font_size: int


@dataclass(frozen=True)
class SignScene:
    """One picture, a function of (split, seed, index, style): the same pixels on every machine.

    Implements ``records.Renderable``. Asking for the layout draws nothing.
    """

    split: str
    seed: int
    index: int
    style: SceneStyle = field(default_factory=SceneStyle)

    @property
    def key(self) -> str:
        return f"{self.split}/{self.seed}/{self.index}"

    def rng(self, purpose: str) -> Random:
        """A random stream of its own for each purpose (Random hashes a string seed with sha512)."""
        return Random(f"{self.key}/{purpose}")

    @cached_property
    def signs(self) -> tuple[Sign, ...]:
        """The layout; the first sign is the one that is asked about."""
        rng, style = self.rng("layout"), self.style
        count = rng.randint(*style.n_signs)
        colors = rng.sample(style.colors, count)
        sizes = _draw_sizes(rng, count, style.p_small)
        fonts = [rng.randint(*FONT_SIZES[size]) for size in sizes]
        texts = [str(rng.randrange(10 ** (style.digits - 1), 10**style.digits)) for _ in range(count)]
        boxes = _place(rng, sizes, [_extent(font, style.digits) for font in fonts], style.canvas)
        return tuple(map(Sign, colors, texts, boxes, sizes, fonts))

    @property
    def asked(self) -> Sign:
        return self.signs[0]

    def render(self) -> Image.Image:
        """The picture, RGB: light, then clutter, then the signs on top."""
        rng, canvas = self.rng("backdrop"), self.style.canvas
        red, blue = _light(canvas)
        picture = Image.merge("RGB", (red, Image.new("L", canvas, rng.randint(90, 160)), blue))
        draw = ImageDraw.Draw(picture)
        for _ in range(self.style.clutter):
            _draw_clutter(draw, rng, canvas)
        for sign in self.signs:
            _draw_sign(draw, sign)
        return picture


class Signs(Dataset[Example]):
    """``size`` questions, one to a scene; scenes of another split or seed are other pictures.

    ``style`` takes the fields of :class:`SceneStyle`.
    """

    def __init__(self, split: str, seed: int, size: int, **style: object) -> None:
        self.split = split
        self.seed = require_int("seed", seed, 0)
        self.size = require_int(f"data.n_{split}", size, 1)
        self.style = SceneStyle(**style)

    def __len__(self) -> int:
        return self.size

    @property
    def ids(self) -> list[str]:
        return [f"signs/{self.split}/{self.seed}/{index}" for index in range(self.size)]

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        scene = SignScene(self.split, self.seed, index, self.style)
        sign = scene.asked
        return Example(
            id=f"signs/{scene.key}",
            image=scene,
            question=f"What number is on the {sign.color} sign?",
            references=annotate(sign.text, scene.rng("annotators")),
            target_boxes=(sign.box,),
            subset=sign.size,
        )


class Boxes(Signs):
    """The same pictures; the answer is where the sign stands."""

    def __getitem__(self, index: int) -> Example:
        example = super().__getitem__(index)
        question = f"Where is the {example.image.asked.color} sign?"
        return replace(example, question=question, references=(), answer_box=example.target_boxes[0])


def signs_datamodule(
    seed: int,
    heldout_seed: int,
    n_train: int,
    n_val: int,
    n_test: int,
    batch_size: int,
    eval_batch_size: int,
    num_workers: int = 0,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    asks: type[Signs] = Signs,
    **style: object,
) -> LoupeDataModule:
    """Train scenes follow the run's ``seed``; every run is judged on the scenes of ``heldout_seed``.

    mined, mix, hard_fraction: see ``mixing.mixed``. asks: what is asked about the scenes.
    """
    train = asks("train", seed, n_train, **style)
    return LoupeDataModule(
        train=mixed(train, train.ids, mined, mix, hard_fraction, seed),
        val=asks("validation", heldout_seed, n_val, **style),
        test=asks("test", heldout_seed, n_test, **style),
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        seed=seed,
        num_workers=num_workers,
    )


boxes_datamodule = partial(signs_datamodule, asks=Boxes)


def annotate(text: str, rng: Random) -> tuple[str, ...]:
    """Ten people's answers: at least seven read ``text``, the others each misread it in their own way.

    No two misreadings agree, so that a wrong answer never scores more than 1/3 by min(1, matches/3).
    """
    misread = {text[:i] + other + text[i + 1 :] for i, digit in enumerate(text) for other in LOOKALIKES[digit]}
    dropped = {text[:i] + text[i + 1 :] for i in range(len(text))} - {""}
    dissent = rng.sample(sorted(misread | dropped), rng.randint(0, MAX_DISSENT))
    answers = dissent + [text] * (ANNOTATORS - len(dissent))
    rng.shuffle(answers)
    return tuple(answers)


def _checked_colors(colors: object) -> tuple[str, ...]:
    if isinstance(colors, (list, tuple)):
        unknown = [name for name in colors if name not in COLORS]
        if unknown or not colors or len(set(colors)) < len(colors):
            raise UserError(f"data.colors={list(colors)}: must be different names out of {', '.join(COLORS)}")
        return tuple(colors)
    if require_int("data.colors", colors, 1) > len(COLORS):
        raise UserError(f"data.colors={colors}: there are only {len(COLORS)}")
    return tuple(COLORS)[:colors]


def _checked_n_signs(n_signs: object) -> tuple[int, int]:
    low, high = _checked_pair("n_signs", n_signs, (1, 1))
    if not low <= high <= MAX_SIGNS:
        raise UserError(f"data.n_signs={[low, high]}: must be [fewest, most], {MAX_SIGNS} or less")
    return low, high


def _checked_canvas(canvas: object) -> tuple[int, int]:
    return _checked_pair("canvas", canvas, MIN_CANVAS)


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


def _extent(font_size: int, digits: int) -> tuple[int, int]:
    """Width and height of a sign. Not measured on the font: the layout then can't depend on its version."""
    return round((ADVANCE * digits + 2 * MARGIN) * font_size), round(HEIGHT * font_size)


def _place(rng: Random, sizes: list[str], extents: list[tuple[int, int]], canvas: tuple[int, int]) -> list[Box]:
    """A box for every sign, none within GAP of another, uniform over the free positions; large ones first.

    There is always a free position: two large signs keep to a half of the picture each, and beside a large
    sign stays a strip of at least (1600 - 976) / 2 = 312 px, more than a small sign's 254 px, GAP and STEP.
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


def _place_one(rng: Random, extent: tuple[int, int], width: int, rows: tuple[int, int], taken: list[Box]) -> Box:
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


@lru_cache(maxsize=4)
def _light(canvas: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """The red channel (rising from left to right) and the blue one (from top to bottom)."""
    width, height = canvas
    dark, bright = LIGHT
    across, down = ((dark + (bright - dark) * np.arange(n) // n).astype(np.uint8) for n in canvas)
    red, blue = np.broadcast_to(across, (height, width)), np.broadcast_to(down[:, None], (height, width))
    return Image.fromarray(np.ascontiguousarray(red)), Image.fromarray(np.ascontiguousarray(blue))


@lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font; the basic layout engine, so that an installed raqm changes nothing."""
    return ImageFont.load_default(size).font_variant(layout_engine=ImageFont.Layout.BASIC)


def _draw_clutter(draw: ImageDraw.ImageDraw, rng: Random, canvas: tuple[int, int]) -> None:
    x, y = (rng.randrange(side) for side in canvas)
    w, h = rng.randint(60, 500), rng.randint(60, 500)
    grey = rng.randint(60, 220)
    fill = (grey, grey + rng.randint(-15, 15), grey + rng.randint(-15, 15))
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=fill)


def _draw_sign(draw: ImageDraw.ImageDraw, sign: Sign) -> None:
    x1, y1, x2, y2 = sign.box
    fill, outline = COLORS[sign.color], (20, 20, 20)
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill, outline, width=sign.font_size // 20)
    font = _font(sign.font_size)
    left, top, right, bottom = font.getbbox(sign.text)
    at = ((x1 + x2 - left - right) // 2, (y1 + y2 - top - bottom) // 2)
    draw.text(at, sign.text, fill=_ink(fill), font=font)


def _ink(background: RGB) -> RGB:
    """White or near-black, whichever stands out (luma weights of ITU-R BT.601)."""
    luma = sum(weight * value for weight, value in zip((0.299, 0.587, 0.114), background, strict=True))
    return (10, 10, 10) if luma > 128 else (255, 255, 255)
