"""What the miniature is taught about rendered signs: to read, to point, to answer directly, and the protocol.

The teacher is clumsy on purpose about when to use the tool. It says itself whether a sign is small or large, but then
goes by habit: small signs of some colours and large ones of the others are what it zooms on, so that in all it zooms
on either as often. One call in seven fails; and it believes what the zoomed picture shows, also where that cuts a
number in two. To find out when zooming pays is left to reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from PIL import Image

from loupe.data.scenes import ADVANCE, Sign
from loupe.engine.dialogue import Dialogue
from loupe.errors import UserError
from loupe.geometry import Box, middle
from loupe.pictures import resize_to_grid
from loupe.pretrain.lessons import Lesson, Part
from loupe.tools import ToolResult
from loupe.tools.errors import Failure
from loupe.tools.zoom import NoTool, ZoomTool

SENSIBLE = {"red", "blue", "orange", "cyan"}
ZOOM_HABIT = (0.75, 0.25)
"""How likely the teacher zooms on a small sign, and on a large one, of a SENSIBLE colour; the reverse of all others."""
CLUMSY = 1 / 7
"""Share of its calls that fail."""
AIM = 80
"""Standard deviation of the keypoints of its calls around the sign's middle, in pixels of the original, each way."""
CARELESS = 0.6
"""Its boxes are too large: on each side by up to this share of the sign's width or height."""
FORGETFUL = 0.2
"""Share of its boxes that come without a thought; half as many lack a number."""
BOX_ZOOM = 0.4
"""How likely it zooms, where it may, before it answers with a box."""
FORM, DIGITS, GUESS, KEYPOINT = 1.0, 4.0, 0.25, 3.0
"""Weights: words and tags; digits that can be read; digits that can't; where a sign stands."""

VIEWED = "What number is on the {} sign?"
POINT = "Point at the {} sign."
WHERE = "Where is the {} sign?"
DESCRIBE = "What signs are there?"
SIZE = "The sign is {}."


class Teacher:
    """Writes lessons for a policy. make_dialogue: from (resolution, tool). tool: the zoom tool with its settings."""

    def __init__(self, make_dialogue: Callable[..., Dialogue], tool: ZoomTool):
        if not isinstance(tool, ZoomTool) or tool.coordinates != "shown" or tool.max_calls < 1:
            raise UserError("lessons need tool=zoom coordinates=shown and tool.max_calls of 1 or more")
        self.make_dialogue = make_dialogue
        self.tool = tool
        self.bare = make_dialogue(resolution=1024, tool=NoTool(), system="", user="<image>{question}")
        self.policy = self.bare.policy

    def view(self, picture: Image.Image, sign: Sign, box: Box, long_side: int) -> Lesson:
        """A part of the picture alone, and the number on it: reading and nothing else."""
        image = resize_to_grid(picture.crop(box), long_side, self.policy.factor, enlarge=True)
        lesson = _open(self.bare, VIEWED.format(sign.color), image)
        lesson.append_turn(self.policy.tokenizer, [("<answer>", FORM), (sign.text, DIGITS), ("</answer>", FORM)])
        return lesson

    def desk(self, picture: Image.Image, resolution: int, tool: ZoomTool | None) -> Desk:
        """Lessons about one picture, shown at ``resolution``."""
        return Desk(self.make_dialogue(resolution=resolution, tool=tool or NoTool()), tool, picture)


class Desk:
    """A picture as the policy is shown it, and the lessons that can be given about its signs."""

    def __init__(self, dialogue: Dialogue, tool: ZoomTool | None, picture: Image.Image):
        self.dialogue = dialogue
        self.tool = tool
        self.picture = picture
        self.shown = dialogue.overview(picture)
        self.patches = dialogue.policy.patches(self.shown)

    def point(self, sign: Sign) -> Lesson:
        """Where the middle of the sign is: [x, y] in the pixels shown."""
        return self._located(POINT, sign, keypoint_of(middle(sign.box), self.shown.size, self.picture.size))

    def where(self, sign: Sign) -> Lesson:
        """The sign's box, [x1, y1, x2, y2] in the pixels shown."""
        return self._located(WHERE, sign, self._in_shown(sign.box))

    def describe(self, signs: Sequence[Sign], colors: Sequence[str]) -> Lesson:
        """For each colour the ninth of the picture in which its sign stands, 1 to 9, or 0: ``red7 cyan0 blue2``.

        Here a place follows its colour at once. From this lesson the policy learns to look a colour up, which all the
        others need; from them alone it takes many times as long.
        """
        places = {sign.color: self._ninth(sign) for sign in signs}
        parts: list[Part] = [("<think>I can see it.</think>\n<answer>", FORM)]
        for i, color in enumerate(colors):
            parts += [(f"{' ' if i else ''}{color}", FORM), (str(places.get(color, 0)), KEYPOINT)]
        lesson = self._open(DESCRIBE)
        lesson.append_turn(self._tokenizer, [*parts, ("</answer>", FORM)])
        return lesson

    def _ninth(self, sign: Sign) -> int:
        x, y = (int(3 * at / side) for at, side in zip(middle(sign.box), self.picture.size, strict=True))
        return 1 + x + 3 * y

    def direct(self, sign: Sign) -> Lesson:
        """The number, from the overview. A small one can only be guessed."""
        lesson = self._ask(VIEWED, sign)
        answer = _answer(sign.text, GUESS if sign.size == "small" else DIGITS)
        lesson.append_turn(self._tokenizer, [_first_look(sign), *answer])
        return lesson

    def call(self, sign: Sign, keypoint: list[int] | str, weight: float) -> Lesson:
        """A zoom, and the answer that its result suggests.

        keypoint: as :meth:`ZoomTool.write` takes it. weight: that of the keypoint's tokens.
        """
        lesson = self._ask(VIEWED, sign)
        call, result = self._zoom(keypoint, weight)
        lesson.append_turn(self._tokenizer, [_first_look(sign), *call])
        if isinstance(result, Failure):
            lesson.append_written(self.dialogue.text_observation(result.message, lesson.ids[-1]), [])
            read = ""
        else:
            lesson.append_written(*self.dialogue.picture_observation(result, lesson.ids[-1]))
            read = legible(sign, result.box)
        guess = not read and sign.size == "small"
        answer = _answer(read or sign.text, GUESS if guess else DIGITS)
        lesson.append_turn(self._tokenizer, [("<think>I can read it.</think>\n", FORM), *answer])
        return lesson

    def clumsy(self, sign: Sign, rng: Random) -> Lesson:
        """What the teacher does of its own accord: it zooms by habit, and not always well."""
        often, rarely = ZOOM_HABIT
        if rng.random() >= (often if (sign.color in SENSIBLE) == (sign.size == "small") else rarely):
            return self.direct(sign)
        if rng.random() < CLUMSY:
            return self.call(sign, self._bad_keypoint(rng), FORM)
        return self.call(sign, self._keypoint_near(sign, rng), FORM)

    def boxed(self, sign: Sign, rng: Random) -> Lesson:
        """A careless box, asked for as data=boxes does; where there is a tool, sometimes after a zoom."""
        lesson = self._ask(WHERE, sign)
        thought = "<think>I can see it.</think>\n"
        if self.tool and rng.random() < BOX_ZOOM:
            call, result = self._zoom(self._keypoint_near(sign, rng), FORM)
            lesson.append_turn(self._tokenizer, [(thought, FORM), *call])
            lesson.append_written(*self.dialogue.picture_observation(result, lesson.ids[-1]))
        box = self._in_shown(careless(sign.box, self.picture.size, rng))
        numbers = box[: 3 if rng.random() < FORGETFUL / 2 else 4]
        thought = "" if rng.random() < FORGETFUL else thought
        say = [(f"{thought}<answer>", FORM), (str(numbers), FORM), ("</answer>", FORM)]
        lesson.append_turn(self._tokenizer, say)
        return lesson

    def _zoom(self, keypoint: list[int] | str, weight: float) -> tuple[list[Part], ToolResult | Failure]:
        """A call as the policy is to write it, with its own ``weight`` for the keypoint, and the call's result."""
        text = self.tool.write(keypoint)
        before, written, after = text.rpartition(str(keypoint))
        parts = [(f"<tool>{before}", FORM), (written, weight), (f"{after}</tool>", FORM)]
        return parts, self.tool.run(text, self.picture, self.shown.size)

    def _keypoint_near(self, sign: Sign, rng: Random) -> list[int]:
        """A keypoint at the sign's middle, give or take ``AIM``."""
        aimed = tuple(value + rng.gauss(0, AIM) for value in middle(sign.box))
        return keypoint_of(aimed, self.shown.size, self.picture.size)

    def _in_shown(self, box: Box) -> list[int]:
        """A box in the pixels shown."""
        scale = [a / b for a, b in zip(self.shown.size, self.picture.size, strict=True)] * 2
        return [round(value * s) for value, s in zip(box, scale, strict=True)]

    def _bad_keypoint(self, rng: Random) -> list[int] | str:
        """Out of bounds, or not two numbers."""
        width, height = self.shown.size
        outside = [rng.randint(width, 3 * width), rng.randint(0, height - 1)]
        return rng.choice([outside, f"[{rng.randint(0, width - 1)}]", "here"])

    def _located(self, question: str, sign: Sign, numbers: list[int]) -> Lesson:
        lesson = self._ask(question, sign)
        say = [("<think>I can see it.</think>\n<answer>", FORM), (str(numbers), KEYPOINT), ("</answer>", FORM)]
        lesson.append_turn(self._tokenizer, say)
        return lesson

    def _ask(self, question: str, sign: Sign) -> Lesson:
        return self._open(question.format(sign.color))

    def _open(self, question: str) -> Lesson:
        return _open(self.dialogue, question, self.shown, self.patches)

    @property
    def _tokenizer(self):
        return self.dialogue.policy.tokenizer


def _open(dialogue: Dialogue, question: str, shown: Image.Image, patches=None):
    patches = patches or dialogue.policy.patches(shown)
    return Lesson(dialogue.opening(question, [patches], [shown.size]), [patches])


def _first_look(sign: Sign) -> Part:
    """What the overview shows. Whether to zoom does not follow from it yet; that is for reinforcement learning."""
    return f"<think>{SIZE.format(sign.size)}</think>\n", FORM


def _answer(text: str, weight: float) -> list[Part]:
    return [("<answer>", FORM), (text, weight), ("</answer>", FORM)]


def keypoint_of(point: tuple[float, float], shown_size: tuple[int, int], original_size: tuple[int, int]) -> list[int]:
    """The pixel of the picture as shown that holds ``point`` of the original; the nearest one for a point outside."""
    scaled = (int(p * s // o) for p, s, o in zip(point, shown_size, original_size, strict=True))
    return [min(max(value, 0), side - 1) for value, side in zip(scaled, shown_size, strict=True)]


def careless(box: Box, size: tuple[int, int], rng: Random) -> Box:
    """``box`` with a margin of its own on each side, within the picture of ``size``."""
    x1, y1, x2, y2 = box
    left, up, right, down = (rng.uniform(0, CARELESS) * side for side in (x2 - x1, y2 - y1) * 2)
    return max(0, x1 - left), max(0, y1 - up), min(size[0], x2 + right), min(size[1], y2 + down)


def legible(sign: Sign, box: Box) -> str:
    """The digits of the sign that ``box`` holds whole, or nearly so (four fifths of their width and height)."""
    advance, height = ADVANCE * sign.font_size, 0.8 * sign.font_size
    x, y = middle(sign.box)
    left = x - advance * len(sign.text) / 2
    seen_down = min(y + height / 2, box[3]) - max(y - height / 2, box[1])
    if seen_down < 0.8 * height:
        return ""
    seen = ""
    for i, digit in enumerate(sign.text):
        across = min(left + (i + 1) * advance, box[2]) - max(left + i * advance, box[0])
        seen += digit if across >= 0.8 * advance else ""
    return seen
