"""The interface of a tool: the rollout passes it the text of a call and receives a result or a failure."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from loupe.geometry import Size
from loupe.tools.errors import Failure


@dataclass(frozen=True)
class ToolResult:
    """The result of an executed call.

    image: the crop at the original picture's resolution; the dialogue resamples it only once, to the patch grid.
    long_side: the crop's long side as shown to the policy, in pixels. arguments: those of the call, as written.
    keypoint, box: (x, y) that the call points at, and (x1, y1, x2, y2) of the crop, in original pixels; x2 and y2 are
        exclusive.
    """

    image: Image.Image
    long_side: int
    arguments: dict
    keypoint: tuple[float, float]
    box: tuple[int, int, int, int]


class Tool(Protocol):
    """A tool that a trajectory may call.

    max_calls: the number of calls that a trajectory may make; 0 means that there is no tool.
    instruction: explains the tool in the system prompt; may be empty.
    coordinates: the coordinate frame of keypoints, and of boxes in an answer (``geometry.COORDINATES``).
    """

    # Properties, so that a frozen field or a class variable serves as well as an attribute that can be set.
    @property
    def name(self) -> str: ...
    @property
    def max_calls(self) -> int: ...
    @property
    def instruction(self) -> str: ...
    @property
    def coordinates(self) -> str: ...

    def run(self, text: str, picture: Image.Image, shown_size: Size) -> ToolResult | Failure:
        """Execute the call ``text``, without its tags, on the original ``picture``. Never raises because of the text.

        shown_size: (width, height) at which the policy sees the picture.
        """
        ...
