"""The interface of a tool: what a policy reads about it, what a call holds, and what the call returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image

from loupe.geometry import Box, Point, View
from loupe.tools.arguments import Argument
from loupe.tools.errors import Failure


@dataclass(frozen=True)
class ToolResult:
    """The result of an executed call: a picture, a text, or both.

    image: at full resolution; the dialogue resamples it once, to the patch grid. long_side: the long side at which it
        is shown, in pixels; None for that of the question's picture.
    text: shown to the policy as it is.
    keypoint, box: what the call pointed at and, if the image is a crop, where it was cut, in pixels of the view's
        picture. They are drawn in pictures of the exchange; a box also tells which part later calls on the image see.
    """

    image: Image.Image | None = None
    text: str = ""
    long_side: int | None = None
    keypoint: Point | None = None
    box: Box | None = None


@runtime_checkable
class Tool(Protocol):
    """A tool that a policy may call, by the name that the configuration gives it (``tool.<name>``).

    instruction: explains the tool in the system prompt; ``{call}`` stands for an example of a call.
    description: one clause for people, as in "`zoom` cuts out a square".
    arguments: those of a call by their names; ``name`` and ``image`` are taken.
    """

    # Properties, so that a frozen field or a class variable serves as well as an attribute that can be set.
    @property
    def instruction(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Argument]: ...

    def run(self, arguments: dict, view: View) -> ToolResult | Failure:
        """Execute a call. The same call on the same picture gives the same result.

        arguments: as ``Argument.read`` returned them. view: the picture that the call acts on. What the policy asked
        for and cannot have is a :class:`Failure`; an exception is a bug and ends the run.
        """
        ...
