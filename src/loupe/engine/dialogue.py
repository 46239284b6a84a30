"""The dialogue with the policy: writing the prompt, and the observation after a call.

Each piece of text is tokenized once; what the policy sampled is never tokenized again.
"""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from string import Formatter

from PIL import Image

from loupe.engine.policy import Policy, special_tokens
from loupe.errors import BadExample, UserError, is_unicode, require_int, require_number, time_limit
from loupe.geometry import Box, Frame, Size, View
from loupe.pictures import open_picture, resize_to_grid
from loupe.records import Example, ImagePatches, Prompt
from loupe.tools import ToolResult
from loupe.tools.errors import Failure
from loupe.tools.toolbox import Toolbox

RENDERING_SECONDS = 20.0
"""For one conversation, which takes a millisecond. The chat template is code that comes with a model."""

IMAGE = "<image>"
_SENTINEL = "\x00"
_CUT = "\ufdd0"
"""Text is tokenized in pieces that end here. A noncharacter, which Unicode reserves for such marks."""


@dataclass(frozen=True)
class Observation:
    """What follows a call.

    ids: the tokens between the policy's last one and its next turn. images: the picture behind their placeholders, if
    there is one. shown: that picture as the policy sees it.
    """

    ids: list[int]
    images: list[ImagePatches]
    shown: Image.Image | None = None


@dataclass(eq=False)
class Dialogue:
    """Writes prompts and observations for a policy.

    resolution: the long side of the overview in pixels; smaller pictures are not enlarged.
    tools: their ``instruction`` explains how to call them, their ``coordinates`` are the frame of points and boxes.
    system: the system prompt; ``{tool}`` stands for the instruction of the tools.
    user, observation, earlier: templates for the question, for the picture of a result and for an earlier picture.
        ``<image>`` stands for the picture, ``{width}`` and ``{height}`` for its size as shown, after rounding to the
        patch grid; ``user`` also takes ``{question}`` and ``{frame}``.
    prefill: text that starts every first turn; the policy does not sample it, so it gets no gradient.
    aspect: width by height of the overview, from 0.1 to 10; None keeps that of the picture.
    max_tokens: of a prompt, pictures included. The memory that a prompt needs grows with the square of its tokens.
    Raises UserError for a resolution below one patch and for a template that cannot be filled in.
    """

    policy: Policy
    resolution: int
    tools: Toolbox
    system: str
    user: str
    observation: str
    earlier: str = IMAGE
    prefill: str = ""
    aspect: float | None = None
    max_tokens: int = 16384

    def __post_init__(self) -> None:
        side, least = self.resolution, self.policy.factor
        if isinstance(side, bool) or not isinstance(side, int) or side < least:
            raise UserError(f"resolution={side}: must be a whole number of pixels, {least} (one patch) or more")
        _check_template("prompt.system", self.system, 0, {"tool"})
        _check_template("prompt.user", self.user, 1, {"question", "frame", "width", "height"})
        _check_template("prompt.observation", self.observation, 1, {"width", "height"})
        _check_template("prompt.earlier", self.earlier, 1, {"width", "height"})
        if not isinstance(self.prefill, str):
            raise UserError(f"prompt.prefill={self.prefill!r}: must be text")
        if self.aspect is not None:
            require_number("prompt.aspect", self.aspect, 0.1, 10)
        require_int("prompt.max_tokens", self.max_tokens, 1)
        self.system = self.system.format(tool=self.tools.instruction)
        name_of = self.policy.tokenizer.convert_ids_to_tokens
        self._special = re.compile("|".join(map(re.escape, name_of(sorted(special_tokens(self.policy.tokenizer))))))
        self._require_functions()
        placeholder = name_of(self.policy.image_token)
        for name in ("system", "user", "observation", "earlier", "prefill"):
            if placeholder in getattr(self, name):
                raise UserError(f"prompt.{name}: must not contain {placeholder}, which is what {IMAGE} becomes")

    def _require_functions(self) -> None:
        """Refuse function calls if the chat template ignores the functions."""
        texts = [("system", ""), ("user", "")]
        if self.tools.functions and self._render(texts) == self._render(texts, self.tools.functions):
            raise UserError(
                "tool.call=function: the chat template of this model does not explain functions; use tool.call=box_json"
            )

    def with_system(self, text: str) -> "Dialogue":
        """The same dialogue with another system prompt: plain text, also where it spells a special token."""
        other = copy(self)
        other.system = self._plain(text)
        return other

    def prompt(self, example: Example) -> Prompt:
        """Open the pictures, reduce them and write the prompt. Raises :class:`BadExample`, which names the row."""
        try:
            return self._prompt(example)
        except BadExample as error:
            raise BadExample(f"{example.id}: {error}") from error

    def _prompt(self, example: Example) -> Prompt:
        if not example.question.strip():
            raise BadExample("the question is empty; write one or drop the row")
        if not is_unicode(example.question):
            raise BadExample("the question holds a broken character (a lone surrogate); correct it or drop the row")
        *_, picture = pictures = [open_picture(image) for image in (*example.earlier_images, example.image)]
        _require_inside(example.answer_box, picture.size)
        shown = [self.overview(picture) for picture in pictures]
        patches = [self.policy.patches(picture) for picture in shown]
        frame = Frame.of(self.tools.coordinates, shown[-1].size, picture.size)
        uses_coordinates = bool(self.tools.max_calls or example.answer_box)
        sizes = [picture.size for picture in shown]
        ids = self.opening(example.question, patches, sizes, frame.sentence if uses_coordinates else "")
        if len(ids) > self.max_tokens:
            raise BadExample(
                f"the prompt takes {len(ids)} tokens, more than prompt.max_tokens={self.max_tokens}; "
                "shorten the question, or lower resolution"
            )
        cut_from = picture if example.zoom_image is None else open_picture(example.zoom_image)
        earlier = tuple(map(partial(View.of, coordinates=self.tools.coordinates), pictures[:-1], sizes[:-1]))
        return Prompt(ids, patches, cut_from, sizes[-1], frame, self.prefill, earlier)

    def opening(self, question: str, patches: list[ImagePatches], sizes: list[Size], frame: str = "") -> list[int]:
        """The tokens of the prompt, up to where the policy begins to write.

        question: plain text, also where it spells a special token. patches, sizes: of the pictures as shown, the last
        of which the question is about. frame: ``Frame.sentence``.
        """
        *earlier, (width, height) = sizes
        content = [part for w, h in earlier for part in self._content(self.earlier, width=w, height=h)]
        content += self._content(self.user, question=self._plain(question), frame=frame, width=width, height=height)
        written = self._render([("system", self.system), ("user", content)], self.tools.functions)
        return self._tokens(written + self.prefill, patches)

    def overview(self, picture: Image.Image) -> Image.Image:
        """The whole picture as shown to the policy."""
        return resize_to_grid(picture, self.resolution, self.policy.factor, aspect=self.aspect)

    def close_up(self, result: ToolResult, long_side: int) -> Image.Image:
        """The picture of a result as shown to the policy, resampled once. long_side: unless the result states one."""
        if result.image is None:
            raise ValueError("the result has no picture")
        picture = result.image.convert("RGB")
        return resize_to_grid(picture, result.long_side or long_side, self.policy.factor, enlarge=True)

    def observe(self, result: ToolResult | Failure, last_token: int, long_side: int = 0) -> Observation:
        """The observation after a call, which shows its result or states what went wrong.

        last_token: the policy's last one. long_side: see :meth:`close_up`.
        """
        if isinstance(result, Failure) or result.image is None:
            text = result.message if isinstance(result, Failure) else result.text
            return Observation(self._answering(self._plain(text), [], last_token), [])
        shown = self.close_up(result, long_side)
        content = self._content(self.observation, width=shown.width, height=shown.height)
        if result.text:
            content.append({"type": "text", "text": self._plain(result.text)})
        images = [self.policy.patches(shown)]
        return Observation(self._answering(content, images, last_token), images, shown)

    def _answering(self, content: str | list[dict], images: list[ImagePatches], last_token: int) -> list[int]:
        """The tokens between ``last_token`` and the policy's next turn, as the chat template writes them."""
        role = "tool" if self.tools.functions else "user"
        texts = [("system", ""), ("user", ""), ("assistant", _SENTINEL), (role, content)]
        ids = self._tokens(self._render(texts).partition(_SENTINEL)[2], images)
        return ids[1:] if last_token == ids[0] == self.policy.end_of_turn else ids

    def _content(self, template: str, **values: object) -> list[dict]:
        parts = []
        for i, text in enumerate(template.split(IMAGE)):
            parts += [{"type": "image"}] if i else []
            parts += [{"type": "text", "text": text.format(**values)}] if text else []
        return parts

    def _render(self, contents: Sequence[tuple[str, str | list[dict]]], tools: Sequence[dict] = ()) -> str:
        """The conversation of these roles and contents as the chat template writes it, up to the policy's next turn.

        tools: those that the template is to explain.
        """
        messages = [{"role": role, "content": content} for role, content in contents]
        with time_limit(RENDERING_SECONDS, "the chat template of the model does not come to an end; use another model"):
            return self.policy.tokenizer.apply_chat_template(
                messages, tools=list(tools) or None, tokenize=False, add_generation_prompt=True
            )

    def _plain(self, text: str) -> str:
        """``text`` with a cut inside whatever spells a special token, so that none is read there."""
        return self._special.sub(lambda token: token[0][0] + _CUT + token[0][1:], text)

    def _tokens(self, text: str, images: list[ImagePatches]) -> list[int]:
        """Token ids, with the n-th image placeholder repeated once per merged cell of the n-th picture."""
        ids, cells = [], (image.tokens(self.policy.merge) for image in images)
        for piece in text.split(_CUT):
            for token in self.policy.tokenizer(piece, add_special_tokens=False)["input_ids"]:
                ids += [token] * (next(cells, 1) if token == self.policy.image_token else 1)
        return ids


def _require_inside(box: Box | None, size: Size) -> None:
    """Refuse an answer box that exceeds its picture by more than the rounding of annotations."""
    if box and not (-1 <= box[0] < box[2] <= size[0] + 1 and -1 <= box[1] < box[3] <= size[1] + 1):
        raise BadExample(f"the box {list(box)} is outside the {size[0]}x{size[1]} picture; fix or drop the row")


def _check_template(name: str, template: object, pictures: int, fields: set[str]) -> None:
    """Refuse a template that cannot be filled in."""
    if not isinstance(template, str) or template.count(IMAGE) != pictures:
        raise UserError(f"{name}={template!r}: must be text that contains {IMAGE} {pictures} times")
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
        named = {field for _, field, _, _ in parts}
        if odd := [field for _, field, width, form in parts if field not in fields or width or form]:
            raise ValueError(f"{{{odd[0]}}}" + " with a format" * (odd[0] in fields))  # such as {question:>9999999999}
    except ValueError as error:
        known = ", ".join(f"{{{field}}}" for field in sorted(fields))
        raise UserError(f"{name}: only {known} can be filled in; double other braces ({error})") from error
    if "question" in fields - named:
        raise UserError(f"{name}={template!r}: must contain {{question}}")
