"""A tool of one's own: four members, and no base class."""

from PIL import ImageOps

from loupe.geometry import View
from loupe.tools import ToolResult


class Contrast:
    """Shows the whole picture with its contrast stretched."""

    description = "stretches the contrast of the picture"

    def __init__(self, instruction: str):
        self.instruction = instruction
        self.arguments: dict = {}  # such as {"level": integer("level", least=1)}, see loupe.tools.arguments

    def run(self, arguments: dict, view: View) -> ToolResult:
        return ToolResult(ImageOps.autocontrast(view.picture))
