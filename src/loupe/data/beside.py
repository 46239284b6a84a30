"""Questions that name a sign by the one beside it, so that two signs must be found to answer about one::

    +------------------------------------+
    |   [ 472 ]                 [ 381 ]  |            question  Where is the sign right of the red one?
    |    red       [ 905 ]       pink    |            answer    the box of the blue sign
    |               blue                 |            red is the first sign from the left, blue the second,
    +------------------------------------+            so it is the blue one

Whoever says where each sign stands, and then names the one in question, has made one hard step into several easy ones.
"""

from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from typing import Any

from loupe.data.scenes import Sign, SignScene
from loupe.data.signs import Boxes, signs_datamodule
from loupe.errors import UserError
from loupe.geometry import middle
from loupe.records import Example

COLUMNS = 3
"""The middles of two signs lie in different ones of as many columns of the picture, so that their order is clear."""
QUESTION = "Where is the sign {} of the {} one?"


class Row(SignScene):
    """A scene whose signs have a clear order from left to right: each stands in a column of its own."""

    @cached_property
    def signs(self) -> tuple[Sign, ...]:
        """The first layout with a clear order; the question is about the first sign."""
        layouts = (self.laid_out(f"row {number}") for number in count())
        return next(signs for signs in layouts if _is_apart(signs, self.style.canvas[0]))

    @cached_property
    def order(self) -> tuple[Sign, ...]:
        """The signs from left to right."""
        return tuple(sorted(self.signs, key=_across))

    @cached_property
    def places(self) -> dict[str, int]:
        """Where the sign of each color stands from the left, 1 for the first."""
        return {sign.color: place for place, sign in enumerate(self.order, 1)}

    def neighbors(self, sign: Sign) -> tuple[Sign, ...]:
        """The next sign to the left and the next one to the right, as far as there are any."""
        at = self.order.index(sign)
        return self.order[max(0, at - 1) : at] + self.order[at + 1 : at + 2]

    def side(self, sign: Sign, neighbor: Sign) -> str:
        """Of the neighbor on which ``sign`` stands: "left" or "right"."""
        return "left" if self.places[sign.color] < self.places[neighbor.color] else "right"

    def question(self, sign: Sign, neighbor: Sign) -> str:
        """Which asks for ``sign`` by its neighbor."""
        return QUESTION.format(self.side(sign, neighbor), neighbor.color)


class Beside(Boxes):
    """Questions for the box of a sign that is named by its neighbor, one per scene.

    Raises UserError if a scene may have a single sign, or more than fit side by side.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        fewest, most = self.style.n_signs
        if fewest < 2 or most > COLUMNS:
            raise UserError(
                f"data.n_signs={[fewest, most]}: must be from 2 to {COLUMNS}, to ask for one beside another"
            )

    def scene(self, index: int) -> Row:
        return Row(self.split, self.seed, index, self.style)

    def question(self, scene: SignScene) -> Example:
        if not isinstance(scene, Row):
            raise TypeError("only the signs of a Row have neighbors")
        neighbor = scene.rng("neighbor").choice(scene.neighbors(scene.asked))
        return replace(super().question(scene), question=scene.question(scene.asked, neighbor))


beside_datamodule = partial(signs_datamodule, dataset=Beside)


def _across(sign: Sign) -> float:
    return middle(sign.box)[0]


def _is_apart(signs: tuple[Sign, ...], width: int) -> bool:
    return len({int(COLUMNS * _across(sign) / width) for sign in signs}) == len(signs)
