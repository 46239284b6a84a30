"""Whatever the policy writes is read without an exception, and every reward lies between 0 and 1."""

import math

from conftest import bare_group
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loupe.geometry import Frame, View
from loupe.records import Example, Trajectory
from loupe.rewards import boxes, terms
from loupe.rewards.boxes import BoxError, read_box
from loupe.rewards.choice import chosen_option
from loupe.rewards.normalize import normalize_answer
from loupe.tags import read_turn, tagged
from loupe.tools.errors import Failure
from loupe.tools.forms import FORMS
from loupe.tools.toolbox import Toolbox
from loupe.tools.zoom import ZoomTool

PIECES = [
    "<think>",
    "</think>",
    "<tool>",
    "</tool>",
    "<answer>",
    "</answer>",
    "name: zoom",
    "keypoint: [3, 4]",
    "\n",
    " ",
]
PIECES += [
    "[1, 2, 3, 4]",
    "{",
    "}",
    "1e308",
    "nan",
    "A",
    "(b)",
    "the answer is",
    "or",
    "None of the above",
    "it's",
    "two",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=20).map("".join)
PICTURE = Image.new("RGB", (1600, 1200))
FRAME = Frame.of("shown", (112, 84), (1600, 1200))
REPEATABLY = settings(max_examples=300, derandomize=True, deadline=None, database=None)
QUESTIONS = [
    Example("text", b"", "?", ("two",) * 10),
    Example("choice", b"", "?", ("B",), options=("one", "none of the above", "A", "")),
    Example("box", b"", "?", (), answer_box=(1, 2, 300, 400)),
]


@REPEATABLY
@given(st.lists(TEXTS, max_size=3))
def test_every_reward_is_between_0_and_1(turns):
    trajectory = Trajectory(0, turns=turns)
    for example in QUESTIONS:
        group = bare_group(example, trajectory, frame=FRAME)
        for term in (terms.accuracy, terms.accuracy_leave_one_out, terms.soft, terms.well_formed, boxes.format_box):
            assert 0 <= term(trajectory, group) <= 1


@REPEATABLY
@given(TEXTS)
def test_every_turn_is_read(text):
    turn = read_turn(text)
    assert turn.attempted == ("<tool>" in text)
    assert turn.call is None or f"<tool>{turn.call}</tool>" in text
    assert not turn.answered or tagged(text, "answer")


@REPEATABLY
@given(TEXTS)
def test_every_call_is_executed_or_fails_for_a_reason(text):
    for form in FORMS:
        tools = Toolbox(form, zoom=ZoomTool(crop=40, call=form))
        result = tools.execute(text, View.of_question(PICTURE, (112, 84), "shown"))
        assert (result.kind and result.message.startswith("Error: ")) if isinstance(result, Failure) else result.box


@REPEATABLY
@given(TEXTS, st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_every_answer_is_read(text, options):
    box, number = read_box(text, FRAME), chosen_option(text, options)
    assert isinstance(box, BoxError) or all(map(math.isfinite, box))
    assert number is None or 0 <= number < len(options)
    assert normalize_answer(text) == normalize_answer(f" {text} ")
