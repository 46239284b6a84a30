from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from conftest import INSTRUCTION, NO_TOOL, compose_config, zoom_call, zoom_tools
from PIL import Image

from loupe.errors import UserError
from loupe.geometry import View
from loupe.runs.config import instantiate
from loupe.tools import Tool, ToolResult
from loupe.tools.arguments import text
from loupe.tools.forms import FORMS
from loupe.tools.parse import Call
from loupe.tools.toolbox import Toolbox

PICTURE = Image.new("RGB", (1000, 500))
QUESTION = View.of_question(PICTURE, (112, 56), "shown")


@dataclass
class Echo:
    """A tool without a picture."""

    instruction: str = "To hear a word again:{call}"
    description: str = "repeats a word"
    arguments: dict = field(default_factory=lambda: {"word": text("word")})

    def run(self, arguments: dict, view: View) -> ToolResult:
        return ToolResult(text=arguments["word"])


def test_the_instruction_is_the_one_that_the_miniature_was_taught():
    assert zoom_tools().instruction == (
        " To see a detail of the original picture, call the tool instead of answering:\n"
        "<tool>\nname: zoom\nkeypoint: [x, y]\n</tool>"
    )


@pytest.mark.parametrize(
    ("form", "call"),
    [
        ("box_yaml", "<tool>\nname: zoom\nbox: [x1, y1, x2, y2]\n</tool>"),
        ("box_json", '<tool>\n{"name": "zoom", "box": [x1, y1, x2, y2]}\n</tool>'),
        ("function", '<tool_call>\n{"name": "zoom", "arguments": {"box": [x1, y1, x2, y2]}}\n</tool_call>'),
    ],
)
def test_each_form_has_its_example(form, call):
    assert zoom_tools(call=form).instruction.endswith(f"instead of answering:\n{call}")


@pytest.mark.parametrize("form", FORMS)
def test_a_written_call_is_read_back(form):
    tools = zoom_tools(call=form)
    numbers = [12, 34] if tools.form.aim == "keypoint" else [12, 13, 34, 35]
    written = tools.form.write("zoom", {tools.form.aim: str(numbers)})
    assert tools.parse(written) == Call("zoom", {tools.form.aim: numbers})
    tag = tools.form.tag
    assert f"<{tag}>{written}</{tag}>".startswith(tools.form.opening("zoom", tools.form.aim))
    assert tools.form.opening("zoom", tools.form.aim).endswith("[")


def test_several_tools_share_one_namespace():
    tools = zoom_tools(max_calls=3, several="Up to {calls} calls.").having(zoom=zoom_tools().tools["zoom"], echo=Echo())
    assert (
        "<tool>\nname: zoom" in tools.instruction and "\nTo hear a word again:\n<tool>\nname: echo" in tools.instruction
    )
    assert tools.instruction.endswith("</tool>\nUp to 3 calls.")
    assert tools.parse("name: echo\nword: hm") == Call("echo", {"word": "hm"})
    assert tools.execute("name: echo\nword: hm", QUESTION).text == "hm"
    failure = tools.parse("name: look\nword: hm")
    assert failure.message == "Error: unknown tool; the tools are zoom, echo."
    assert tools.parse("name: echo\nword: ' '").message == "Error: word must be text."


def test_a_call_names_the_picture_that_it_acts_on():
    tools, views = zoom_tools(max_calls=2), [QUESTION, View.of(PICTURE, (56, 28), "shown", depth=1)]
    call = tools.parse("name: zoom\nkeypoint: [1, 2]\nimage: 2")
    assert call == Call("zoom", {"keypoint": [1, 2]}, 2)
    assert tools.find(call, views, asked=0) is views[1]
    assert tools.find(Call("zoom", {"keypoint": [1, 2]}), views, asked=0) is views[0]
    missing = tools.find(Call("zoom", {"keypoint": [1, 2]}, 3), views, asked=0)
    assert (missing.kind, missing.message) == ("no_such_image", "Error: there is no picture 3, only 2.")
    for wrong in ("0", "-1", "one", "[1]"):
        assert tools.parse(f"name: zoom\nkeypoint: [1, 2]\nimage: {wrong}").kind == "bad_argument"


def test_a_tool_may_have_a_budget_of_its_own():
    tools = zoom_tools(max_calls=3, budgets={"zoom": 2})
    call = Call("zoom", {"keypoint": [1, 2]})
    assert tools.find(call, [QUESTION], 0, ["zoom", None]) is QUESTION
    spent = tools.find(call, [QUESTION], 0, ["zoom", None, "zoom"])
    assert (spent.kind, spent.message) == ("over_budget", "Error: zoom may be called 2 times only.")


def test_without_tools():
    assert (NO_TOOL.max_calls, NO_TOOL.instruction, NO_TOOL.functions) == (0, "", [])
    assert NO_TOOL.parse(zoom_call([1, 2])).kind == "unknown_tool"
    assert zoom_tools(max_calls=0).instruction == "" == zoom_tools().without().instruction
    assert zoom_tools(coordinates="original").without().coordinates == "original"


def test_a_call_that_is_too_long():
    failure = zoom_tools().parse("x" * 201)
    assert (failure.kind, failure.message) == ("too_long", "Error: the call is longer than 200 characters.")


def test_functions_have_json_schemas():
    (function,) = zoom_tools(call="function").functions
    parameters = function["function"].pop("parameters")
    purpose = "To see a detail of the original picture, call the tool instead of answering"
    assert function == {"type": "function", "function": {"name": "zoom", "description": purpose}}
    assert parameters["required"] == ["box"] and parameters["properties"]["box"]["minItems"] == 4
    assert zoom_tools().functions == []


def test_an_instruction_that_shows_no_call_is_warned_about(caplog):
    without, own = Echo("Hear a word again."), Echo("Hear a word again:<tool>name: echo\nword: ab</tool>")
    Toolbox(other=without)
    assert caplog.messages == ["tool.other.instruction has no {call}, so that the prompt shows no example of a call"]
    caplog.clear()
    Toolbox(other=own)
    Toolbox("function", other=without)  # the chat template shows what it takes
    Toolbox(max_calls=0, other=without)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"call": "xml"}, r"tool\.call=xml: must be one of keypoint_yaml, box_yaml, box_json, function"),
        ({"max_calls": -1}, r"tool\.max_calls=-1: must be a whole number, 0 or more"),
        ({"coordinates": "pixel"}, "coordinates=pixel: must be one of shown, original, relative_1000"),
        ({"budgets": [1]}, r"tool\.budgets=\[1\]: must be numbers of calls by tool, such as {zoom: 2}"),
        ({"budgets": {"zoom": 1}}, r"tool\.budgets\.zoom: there is no such tool; there are echo"),
        ({"budgets": {"echo": 0}}, r"tool\.budgets\.echo=0: must be a whole number, 1 or more"),
        ({"pixels": "shown"}, r"tool\.pixels=shown: is not a tool, .*; .*tool\.<its name>\.pixels"),
        ({"other": SimpleNamespace(instruction="", arguments={})}, "not a tool, because it has no description, run; "),
        ({"other": Echo(arguments=["x"])}, r"tool\.other\.arguments=\['x'\]: must be arguments by their names"),
        ({"a b": Echo()}, "the name of a tool must consist of letters, digits and underscores"),
        ({"other": Echo(instruction=None)}, r"tool\.other\.instruction=None: must be text"),
        ({"other": Echo(arguments={"image": text("image")})}, r"tool\.other: an argument must not be called image"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(UserError, match=message):
        Toolbox(**{"echo": Echo()} | settings)


@pytest.mark.parametrize(
    ("override", "names"), [("tool=zoom", ["zoom"]), ("tool=none", []), ("tool=[zoom,rotate]", ["zoom", "rotate"])]
)
def test_the_configuration_names_a_set_of_tools(override, names):
    tools = instantiate(compose_config(override, "crop=200", "coordinates=original").tool)
    assert list(tools.tools) == names and tools.coordinates == "original"
    assert all(isinstance(tool, Tool) for tool in tools.tools.values())
    assert INSTRUCTION.partition(":")[0] in tools.instruction or not names
