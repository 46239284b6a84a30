"""The rotation tool: turns a picture, for text that is upside down or runs along a side."""

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from loupe.geometry import View
from loupe.tools import ToolResult
from loupe.tools.arguments import Argument, choice

TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
"""Pillow turns counterclockwise."""


@dataclass(frozen=True)
class RotateTool:
    """Turns a picture clockwise by 90, 180 or 270 degrees. instruction: see :class:`Tool`."""

    instruction: str = ""
    description: ClassVar[str] = "turns the picture clockwise by 90, 180 or 270 degrees"
    arguments: ClassVar[dict[str, Argument]] = {"degrees": choice("degrees", tuple(TURNS))}

    def run(self, arguments: dict, view: View) -> ToolResult:
        """The whole picture, turned; see :class:`Tool`."""
        return ToolResult(view.picture.transpose(TURNS[arguments["degrees"]]))
