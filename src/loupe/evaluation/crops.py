"""Controls that replace the picture from which the tool cuts its crops. The policy still sees its own picture whole."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageStat
from torch.utils.data import Dataset

from loupe.data.datamodule import Questions
from loupe.pictures import Renderable, open_picture
from loupe.records import Example

Picture = Path | bytes | Renderable


@dataclass(frozen=True)
class Blank:
    """A picture of the size of ``picture``, in its mean gray."""

    picture: Picture

    def render(self) -> Image.Image:
        picture = open_picture(self.picture)
        (gray,) = ImageStat.Stat(picture.convert("L")).mean
        return Image.new("RGB", picture.size, (round(gray),) * 3)


@dataclass(frozen=True)
class Noise:
    """A picture of the size of ``picture``, whose values are drawn uniformly from 0 to 255, keyed by ``key``."""

    picture: Picture
    key: str

    def render(self) -> Image.Image:
        width, height = open_picture(self.picture).size
        seed = int.from_bytes(hashlib.sha256(f"noise/{self.key}".encode()).digest()[:16])
        values = np.random.Generator(np.random.Philox(key=seed)).integers(256, size=(height, width, 3), dtype=np.uint8)
        return Image.fromarray(values)


def shuffled(examples: Questions, index: int) -> Picture:
    """The picture of the question half a data set further on, or of the next one after it with a different picture."""
    n = len(examples)
    others = (examples[(index + n // 2 + i) % n].image for i in range(n))
    return next(picture for picture in others if picture != examples[index].image)


def blank(examples: Questions, index: int) -> Picture:
    """A gray picture of the same size."""
    return Blank(examples[index].image)


def noise(examples: Questions, index: int) -> Picture:
    """Noise of the same size, another one for each question."""
    return Noise(examples[index].image, examples[index].id)


Source = Callable[[Questions, int], Picture]
SOURCES: dict[str, Source | None] = {"own": None, "shuffled": shuffled, "blank": blank, "noise": noise}
"""By the name that a condition gives as ``crops``: the picture that the tool crops; None for the question's own."""


class Recropped(Dataset[Example]):
    """The same questions, but the tool crops another picture. source: which one, by the index of the question."""

    def __init__(self, examples: Questions, source: Source):
        self.examples, self.source = examples, source

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return replace(self.examples[index], zoom_image=self.source(self.examples, index))
