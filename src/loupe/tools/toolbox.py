"""The tools of a run under their names: what the prompt says about them, and how their calls are read and executed."""

import logging
import re
from collections.abc import Mapping, Sequence
from copy import copy

from loupe.errors import UserError, require_choice, require_int
from loupe.geometry import COORDINATES, Size, View
from loupe.tools import Tool, ToolResult
from loupe.tools.arguments import IMAGE, Argument
from loupe.tools.errors import CallError, Failure
from loupe.tools.forms import FORMS
from loupe.tools.parse import MAX_CHARACTERS, Call, check_call

PARTS = ("instruction", "description", "arguments", "run")
LOG = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


class Toolbox:
    """The tools of a run.

    tools: each under the name by which it is called. call: the form of calls, one of ``forms.FORMS``. max_calls: the
    number of calls, failed ones included, that a trajectory may make; 0 means that there is no tool. budgets: the
    number of calls of single tools, by name. several: what the prompt says if more than one call is allowed;
    ``{calls}`` stands for ``max_calls``. coordinates: the frame of points and boxes in calls, and of boxes in answers
    (``geometry.COORDINATES``).

    The attribute ``forbidden_tag`` is the tag of calls if the policy cannot begin one, else None.

    Raises UserError for settings outside these values, and for a tool that lacks a part of :class:`Tool`.
    """

    def __init__(
        self,
        call: str = "keypoint_yaml",
        max_calls: int = 1,
        budgets: Mapping[str, int] | None = None,
        several: str = "",
        coordinates: str = "shown",
        **tools: Tool,
    ):
        self.call = require_choice("tool.call", call, FORMS)
        self.form = FORMS[call]
        self.coordinates = require_choice("coordinates", coordinates, COORDINATES)
        require_int("tool.max_calls", max_calls, 0)
        for name, tool in tools.items():
            _check_tool(name, tool)
        self.tools: Mapping[str, Tool] = tools if max_calls else {}
        self.max_calls = max_calls if tools else 0
        for name, tool in self.tools.items():
            if not self.form.function and not re.search(rf"\{{call\}}|<{self.form.tag}>", tool.instruction):
                LOG.warning("tool.%s.instruction has no {call}, so that the prompt shows no example of a call", name)
        if not isinstance(budgets, Mapping | None):
            raise UserError(f"tool.budgets={budgets}: must be numbers of calls by tool, such as {{zoom: 2}}")
        self.budgets = dict(budgets or {})
        self.several = several
        self.forbidden_tag: str | None = None
        if not isinstance(several, str):
            raise UserError(f"tool.several={several}: must be text")
        for name, budget in self.budgets.items():
            if name not in tools:
                raise UserError(f"tool.budgets.{name}: there is no such tool; there are {', '.join(tools) or 'none'}")
            require_int(f"tool.budgets.{name}", budget, 1)
        self._arguments = {name: {**tool.arguments, "image": IMAGE} for name, tool in self.tools.items()}

    def without(self) -> "Toolbox":
        """The same settings without a tool."""
        return Toolbox(self.call, 0, coordinates=self.coordinates)

    def described(self) -> "Toolbox":
        """The same tools, which a prompt explains, but which the policy cannot call."""
        other = copy(self)
        other.forbidden_tag = self.form.tag
        return other

    def having(self, **tools: Tool) -> "Toolbox":
        """The same settings with these tools."""
        return Toolbox(self.call, self.max_calls, self.budgets, self.several, self.coordinates, **tools)

    @property
    def stop_texts(self) -> tuple[str, str]:
        """What ends a turn, as soon as its decoded text contains one of these, however it is split into tokens."""
        return f"</{self.form.tag}>", "</answer>"

    @property
    def instruction(self) -> str:
        """The part of the system prompt that explains the tools; empty if there are none."""
        parts = [
            tool.instruction.replace("{call}", f"\n<{self.form.tag}>{self.example(name)}</{self.form.tag}>")
            for name, tool in self.tools.items()
        ]
        if self.max_calls > 1:
            parts.append(self.several.replace("{calls}", str(self.max_calls)))
        explained = "\n".join(filter(None, parts))
        return f" {explained}" if explained else ""

    @property
    def functions(self) -> list[dict]:
        """The tools as chat templates take them; empty if the form of calls is our own."""
        if not self.form.function:
            return []
        return [_as_function(name, tool, self._arguments[name]) for name, tool in self.tools.items()]

    def example(self, name: str) -> str:
        """A call of this tool with placeholders, as it stands between the tags."""
        arguments = {key: argument.example for key, argument in self.tools[name].arguments.items() if argument.required}
        return self.form.write(name, arguments)

    def parse(self, text: str) -> Call | Failure:
        """Parse ``text``, which stands between the tags of a call. Never raises because of it."""
        if not self.tools:
            return Failure(CallError.UNKNOWN_TOOL, "Error: there is no tool.")
        if len(text) > MAX_CHARACTERS:
            return Failure(CallError.TOO_LONG, f"Error: the call is longer than {MAX_CHARACTERS} characters.")
        return check_call(self.form.read(text), self._arguments)

    def execute(self, text: str, view: View) -> ToolResult | Failure:
        """Parse and execute a single call on ``view``."""
        call = self.parse(text)
        return call if isinstance(call, Failure) else self.tools[call.name].run(call.arguments, view)

    def find(self, call: Call, views: Sequence[View], asked: int, earlier: Sequence[str | None] = ()) -> View | Failure:
        """The picture that a call acts on, unless the budget of its tool is spent.

        views: the pictures shown so far. asked: the index of the one that the question is about. earlier: the names of
        the tools called before.
        """
        budget = self.budgets.get(call.name, self.max_calls)
        if earlier.count(call.name) >= budget:
            return Failure(CallError.OVER_BUDGET, f"Error: {call.name} may be called {budget} times only.")
        index = asked if call.image is None else call.image - 1
        if index < len(views):
            return views[index]
        return Failure(CallError.NO_SUCH_IMAGE, f"Error: there is no picture {index + 1}, only {len(views)}.")

    def view_of(self, result: ToolResult, source: View, shown: Size) -> View:
        """The picture of a result, shown at this size, as later calls find it. source: what the call acted on."""
        if result.image is None:
            raise ValueError("a result without a picture cannot be shown")
        return View.of(result.image, shown, self.coordinates, source.place_box(result.box), source.depth + 1)


def _check_tool(name: str, tool: object) -> None:
    """Refuse what does not implement :class:`Tool`, in one line."""
    if not isinstance(tool, Tool):
        whose = f"set those of a tool as tool.<its name>.{name}"
        lacking = ", ".join(part for part in PARTS if not hasattr(tool, part))
        raise UserError(f"tool.{name}={tool}: is not a tool, because it has no {lacking}; {whose}")
    if not NAME.fullmatch(name):
        raise UserError(f"tool.{name}: the name of a tool must consist of letters, digits and underscores")
    if not isinstance(tool.instruction, str):
        raise UserError(f"tool.{name}.instruction={tool.instruction}: must be text")
    if not isinstance(tool.arguments, Mapping):
        raise UserError(
            f"tool.{name}.arguments={tool.arguments}: must be arguments by their names, as in docs/extending.md"
        )
    if taken := tool.arguments.keys() & {"name", "image"}:
        raise UserError(f"tool.{name}: an argument must not be called {min(taken)}, which every call may have")


def _as_function(name: str, tool: Tool, arguments: Mapping[str, Argument]) -> dict:
    """The tool in the form that chat templates take: a function with a JSON schema."""
    parameters = {
        "type": "object",
        "properties": {key: argument.schema for key, argument in arguments.items()},
        "required": [key for key, argument in arguments.items() if argument.required],
    }
    description = tool.instruction.partition("{call}")[0].strip(" :")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
