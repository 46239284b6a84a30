"""The lessons that teach the miniature about rendered signs: reading, pointing, answering directly, and the protocol.

The teacher is deliberately clumsy about when to use the tool. It states whether a sign is small or large, but then
acts by habit: it zooms on small signs of some colors and on large signs of the others, and so equally often on small
and on large ones. One call in seven fails; and it trusts the crop even where it cuts a number in two. Finding out when
zooming pays is left to reinforcement learning.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from PIL import Image

from loupe.data.beside import Row
from loupe.data.scenes import ADVANCE, Sign, SignScene
from loupe.engine.dialogue import Dialogue
from loupe.errors import UserError
from loupe.geometry import Box, View, middle
from loupe.pictures import resize_to_grid
from loupe.pretrain.aims import Aim, Aims, careless_box
from loupe.sft.lessons import Lesson, Part
from loupe.tools import ToolResult
from loupe.tools.errors import Failure
from loupe.tools.toolbox import Toolbox
from loupe.tools.zoom import ZoomTool

SENSIBLE = {"red", "blue", "orange", "cyan"}
ZOOM_HABIT = (0.75, 0.25)
"""Probabilities of a zoom on a small and on a large sign of a SENSIBLE color; swapped for all other colors."""
FAILING = 1 / 7
"""Share of the teacher's calls that fail."""
PULL = 2 / 3
"""Where it goes astray, it points this far from the sign's middle towards that of the picture."""
FORGETFUL = 0.2
"""Share of its boxes without a thought; half this share lack a number."""
ZOOM = "zoom"
BOX_ZOOM = 0.4
"""Probability of a zoom before it answers with a box, where there is a tool."""
FORM, DIGITS, GUESS, KEYPOINT = 1.0, 4.0, 0.25, 3.0
"""Loss weights: of words and tags, of legible digits, of digits that can only be guessed, and of positions."""

VIEWED = "What number is on the {} sign?"
POINT = "Point at the {} sign."
WHERE = "Where is the {} sign?"
DESCRIBE = "What signs are there?"
SIZE = "The sign is {}."
SEEN: Part = ("<think>I can see it.</think>\n", FORM)


class Teacher:
    """Writes lessons for a policy.

    make_dialogue: builds a dialogue from the keywords ``resolution`` and ``tools``.
    tools: the zoom tool with its settings.

    Raises UserError for any other tools, and for anything but pixels as shown.
    """

    def __init__(self, make_dialogue: Callable[..., Dialogue], tools: Toolbox):
        tool = tools.tools.get(ZOOM)
        if not isinstance(tool, ZoomTool) or len(tools.tools) > 1 or tools.coordinates != "shown":
            raise UserError("lessons need tool=zoom coordinates=shown and tool.max_calls of 1 or more")
        self.make_dialogue = make_dialogue
        self.tools, self.tool = tools, tool
        self.bare_dialogue = make_dialogue(resolution=1024, tools=tools.without(), system="", user="<image>{question}")
        self.policy = self.bare_dialogue.policy

    def view(self, picture: Image.Image, sign: Sign, box: Box, long_side: int) -> Lesson:
        """A close-up of a sign, and its number: practice in reading alone. box: in original pixels."""
        image = resize_to_grid(picture.crop(box), long_side, self.policy.factor, enlarge=True)
        patches = self.policy.patches(image)
        lesson = Lesson(self.bare_dialogue.opening(VIEWED.format(sign.color), [patches], [image.size]), [patches])
        lesson.append_turn(self.policy.tokenizer, _answer(sign.text, DIGITS))
        return lesson

    def desk(self, scene: SignScene, resolution: int, tool: ZoomTool | None) -> "Desk":
        """The desk for lessons about the picture of a scene, shown at ``resolution``."""
        tools = self.tools.having(zoom=tool) if tool else self.tools.without()
        return Desk(self.make_dialogue(resolution=resolution, tools=tools), scene)


class Desk:
    """A picture as the policy sees it, and the lessons about its signs."""

    def __init__(self, dialogue: Dialogue, scene: SignScene):
        self.dialogue = dialogue
        self.scene = scene
        self.picture = scene.render()
        self.shown = dialogue.overview(self.picture)
        self.patches = dialogue.policy.patches(self.shown)
        self.tokenizer = dialogue.policy.tokenizer
        tool = dialogue.tools.tools.get(ZOOM)
        crop = tool.crop if isinstance(tool, ZoomTool) else None
        self.aims = Aims(dialogue.tools.form.aim, crop, self.shown.size, self.picture.size)

    def point(self, sign: Sign) -> Lesson:
        """The sign's middle, [x, y] in pixels as shown."""
        keypoint = self.aims.keypoint(middle(sign.box))
        return self._start(POINT.format(sign.color), SEEN, *_answer(str(keypoint), KEYPOINT))

    def where(self, sign: Sign) -> Lesson:
        """The sign's box, [x1, y1, x2, y2] in pixels as shown."""
        return self._start(WHERE.format(sign.color), SEEN, *_answer(str(self.aims.box(sign.box)), KEYPOINT))

    def describe(self, colors: Sequence[str]) -> Lesson:
        """For each color the ninth of the picture that contains its sign, 1 to 9, or 0 for none: ``red7 cyan0 blue2``.

        In this lesson the position follows the color directly. It teaches the policy to look a color up, which all
        other lessons require; without it, learning takes many times as long.
        """
        ninths = {sign.color: self._ninth(sign) for sign in self.scene.signs}
        return self._start(DESCRIBE, SEEN, ("<answer>", FORM), *_listed(colors, ninths), ("</answer>", FORM))

    def _ninth(self, sign: Sign) -> int:
        column, row = (int(3 * at / side) for at, side in zip(middle(sign.box), self.picture.size, strict=True))
        return 1 + column + 3 * row

    def direct(self, sign: Sign) -> Lesson:
        """The number, answered from the overview. A small sign's number can only be guessed."""
        answer = _answer(sign.text, GUESS if sign.size == "small" else DIGITS)
        return self._start(VIEWED.format(sign.color), _first_look(sign), *answer)

    def call(self, sign: Sign, aim: Aim, weight: float) -> Lesson:
        """A zoom, and the answer that its result suggests.

        aim: a keypoint or a box, or any other text for a call that is meant to fail. weight: that of its tokens.
        """
        lesson, result = self._zoom(VIEWED.format(sign.color), _first_look(sign), aim, weight)
        number = "" if isinstance(result, Failure) or not result.box else legible(sign, result.box)
        guess = not number and sign.size == "small"
        answer = _answer(number or sign.text, GUESS if guess else DIGITS)
        lesson.append_turn(self.tokenizer, [("<think>I can read it.</think>\n", FORM), *answer])
        return lesson

    def clumsy(self, sign: Sign, rng: Random, pull: float = 0.0) -> Lesson:
        """The teacher's own behavior: it zooms by habit, and not always well.

        pull: how far it points from the sign's middle towards that of the picture; 1 is all the way.
        """
        often, rarely = ZOOM_HABIT
        if rng.random() >= (often if (sign.color in SENSIBLE) == (sign.size == "small") else rarely):
            return self.direct(sign)
        aim = self.aims.bad(rng) if rng.random() < FAILING else self.aims.near(middle(sign.box), rng, pull)
        return self.call(sign, aim, FORM)

    def astray(self, sign: Sign, rng: Random) -> Lesson:
        """The same, with keypoints that are drawn to the middle of the picture, so that most crops miss the sign."""
        return self.clumsy(sign, rng, PULL)

    def boxed(self, sign: Sign, rng: Random) -> Lesson:
        """A careless box, to the question that data=boxes asks; where there is a tool, sometimes after a zoom."""
        question = WHERE.format(sign.color)
        if self.dialogue.tools.max_calls and rng.random() < BOX_ZOOM:
            lesson, _ = self._zoom(question, SEEN, self.aims.near(middle(sign.box), rng), FORM)
        else:
            lesson = self._start(question)
        box = self.aims.box(careless_box(sign.box, self.picture.size, rng))
        answer = _answer(str(box[: 3 if rng.random() < FORGETFUL / 2 else 4]), FORM)
        lesson.append_turn(self.tokenizer, answer if rng.random() < FORGETFUL else [SEEN, *answer])
        return lesson

    def beside(self, sign: Sign, rng: Random) -> Lesson:
        """The box of a sign that is named by its neighbor, at once."""
        return self._beside(sign, rng.choice(self._row.neighbors(sign)), [SEEN])

    def thoughtful(self, sign: Sign, rng: Random) -> Lesson:
        """The same, after a thought that says where from the left each sign stands, and then names the one in question:
        ``I see red2 cyan0 blue3 pink1. Left of red2 is 1: pink.``
        """
        row = self._row
        neighbor, places = rng.choice(row.neighbors(sign)), row.places
        thought = [
            ("<think>I see ", FORM),
            *_listed(row.style.colors, places),
            (f". {row.side(sign, neighbor).title()} of {neighbor.color}", FORM),
            (f"{places[neighbor.color]} is {places[sign.color]}: {sign.color}", KEYPOINT),
            (".</think>\n", FORM),
        ]
        return self._beside(sign, neighbor, thought)

    @property
    def _row(self) -> Row:
        if not isinstance(self.scene, Row):
            raise TypeError("only the signs of a Row have neighbors")
        return self.scene

    def _beside(self, sign: Sign, neighbor: Sign, thought: list[Part]) -> Lesson:
        answer = _answer(str(self.aims.box(sign.box)), KEYPOINT)
        return self._start(self._row.question(sign, neighbor), *thought, *answer)

    def _start(self, question: str, *turn: Part) -> Lesson:
        """A lesson with the question and the policy's first turn."""
        lesson = Lesson(self.dialogue.opening(question, [self.patches], [self.shown.size]), [self.patches])
        lesson.append_turn(self.tokenizer, list(turn))
        return lesson

    def _zoom(self, question: str, thought: Part, aim: Aim, weight: float) -> tuple[Lesson, ToolResult | Failure]:
        """A lesson up to the observation after a call, whose aim has its own ``weight``; and the call's result."""
        tools = self.dialogue.tools
        form, written = tools.form, str(aim)
        text = form.write(ZOOM, {form.aim: written})
        before, _, after = text.rpartition(written)
        call = (f"<{form.tag}>{before}", FORM), (written, weight), (f"{after}</{form.tag}>", FORM)
        lesson = self._start(question, thought, *call)
        result = tools.execute(text, View.of_question(self.picture, self.shown.size, tools.coordinates))
        observation = self.dialogue.observe(result, lesson.ids[-1], max(self.shown.size))
        lesson.append_written(observation.ids, observation.images)
        return lesson, result


def _first_look(sign: Sign) -> Part:
    """A thought about the sign's size. Whether to zoom does not follow from it until reinforcement learning."""
    return f"<think>{SIZE.format(sign.size)}</think>\n", FORM


def _answer(text: str, weight: float) -> list[Part]:
    return [("<answer>", FORM), (text, weight), ("</answer>", FORM)]


def legible(sign: Sign, box: Box) -> str:
    """The sign's digits of which ``box`` contains at least four fifths of the width and of the height."""
    advance, height = ADVANCE * sign.font_size, 0.8 * sign.font_size
    x, y = middle(sign.box)
    left = x - advance * len(sign.text) / 2
    visible_height = min(y + height / 2, box[3]) - max(y - height / 2, box[1])
    if visible_height < 0.8 * height:
        return ""
    return "".join(
        digit
        for i, digit in enumerate(sign.text)
        if min(left + (i + 1) * advance, box[2]) - max(left + i * advance, box[0]) >= 0.8 * advance
    )


def _listed(colors: Sequence[str], places: Mapping[str, int]) -> list[Part]:
    """Each color and its place, or 0: ``red7 cyan0 blue2``."""
    parts: list[Part] = []
    for i, color in enumerate(colors):
        parts += [(f"{' ' if i else ''}{color}", FORM), (str(places.get(color, 0)), KEYPOINT)]
    return parts
