"""Questions about gauges that are drawn when they are needed; a real project would open its own pictures here."""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from loupe.data.datamodule import LoupeDataModule
from loupe.records import Example


@dataclass(frozen=True)
class Gauge:
    """A bar that is filled from the left up to ``level`` tenths, somewhere in a large dark picture."""

    level: int
    place: tuple[int, int]

    @property
    def box(self) -> tuple[int, int, int, int]:
        x, y = self.place
        return x, y, x + 100, y + 20

    def render(self) -> Image.Image:
        picture = Image.new("RGB", (1200, 900), (60, 60, 60))
        draw, (x, y, right, bottom) = ImageDraw.Draw(picture), self.box
        draw.rectangle((x, y, right, bottom), outline=(90, 90, 90), width=2)
        draw.rectangle((x, y, x + 10 * self.level, bottom), fill=(80, 80, 80))
        return picture


class Gauges:
    """``size`` questions of a split, the same whenever they are asked for."""

    def __init__(self, split: str, size: int):
        self.split, self.size = split, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        name = f"{self.split}/{index}"
        random = Random(name)
        gauge = Gauge(random.randint(0, 9), (random.randint(0, 1100), random.randint(0, 880)))
        return Example(name, gauge, "What does the gauge read?", (str(gauge.level),), target_boxes=(gauge.box,))


def gauges(n_train: int, n_val: int, n_test: int, **settings) -> LoupeDataModule:
    """settings: of a data module, such as the seed and the batch size."""
    return LoupeDataModule(Gauges("train", n_train), Gauges("val", n_val), Gauges("test", n_test), **settings)
