"""Rows of files in the forms that other projects write."""

import base64
import io
import json

import pytest
from PIL import Image

from loupe.errors import UserError
from loupe.sft.forms import read_traces
from loupe.sft.traces import Observed

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "<image>What number?"}
CALL = {"role": "assistant", "content": "<tool>zoom</tool>"}
CROP = {"role": "user", "content": "<image>Here."}
ANSWER = {"role": "assistant", "content": "<answer>7</answer>"}


def picture(color="red"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


RED, BLUE = picture("red"), picture("blue")


def text(data):
    return base64.b64encode(data).decode()


@pytest.fixture
def read(tmp_path):
    for name, data in (("a.png", RED), ("b.png", BLUE)):
        (tmp_path / name).write_bytes(data)

    def run(*rows, name="t.jsonl", keep_system=False, images=None):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        content = "\n".join(lines) if name.endswith("jsonl") else f"[{','.join(lines)}]"
        (tmp_path / name).write_text(content)
        return read_traces(tmp_path / name, images, keep_system, "tool")

    return run


def told(trace):
    """Everything that a trace says, with pictures as bytes."""
    example = trace.example()
    shown = [_bytes(image) for image in (*example.earlier_images, example.image)]
    observed = [(found.text, found.image and _bytes(found.image)) for found in trace.observed]
    return shown, example.question, trace.turns, observed


def _bytes(image):
    return image if isinstance(image, bytes) else image.read_bytes()


EXCHANGE = ([RED], "What number?", (CALL["content"], ANSWER["content"]), [("Here.", BLUE)])
TOOL = CROP | {"role": "tool"}
DATA_URL = f"data:image/png;base64,{text(RED)}"


def part(words):
    return {"type": "text", "text": words}


PARTS = [{"type": "image"}, part("What number?")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [SYSTEM, USER, CALL, CROP, ANSWER], "images": ["a.png", "b.png"]},
        {"messages": [USER, CALL, TOOL, ANSWER], "images": [{"path": "a.png"}, {"bytes": text(BLUE)}]},
        {"messages": [USER | {"content": PARTS}, CALL, CROP, ANSWER], "images": ["a.png", "file://b.png"]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "image": DATA_URL}, PARTS[1]]},
                CALL,
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "b.png"}}, part("Here.")]},
                {"role": "assistant", "content": [part(ANSWER["content"])]},
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "What number?<image>\n"},
                {"from": "gpt", "value": CALL["content"]},
                {"from": "observation", "value": "Here.<image>"},
                {"from": "gpt", "value": ANSWER["content"]},
            ],
            "system": "Be brief.",
            "images": ["a.png", "b.png"],
        },
    ],
    ids=["messages", "tool role", "parts", "own pictures", "ShareGPT"],
)  # fmt: skip
def test_a_row_says_the_same_in_every_form(read, row):
    for name in ("t.jsonl", "t.json"):
        (trace,) = read(row, name=name)
        assert told(trace) == EXCHANGE
        assert trace.system is None and trace.name == f"{name}/1"


def test_a_picture_that_is_marked_nowhere_belongs_to_the_question(read):
    """As in the files of VLM-R1."""
    turns = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]
    for images in ({"image": "a.png"}, {"image": ["a.png"]}, {"images": ["a.png"]}):
        (trace,) = read({"conversations": turns} | images)
        assert told(trace) == ([RED], "Where?", ("There.",), [])


def test_several_pictures_of_a_question_are_in_order(read):
    (trace,) = read({"messages": [USER | {"content": "<image>Which?<image>"}, ANSWER], "images": ["b.png", "a.png"]})
    assert told(trace)[:2] == ([BLUE, RED], "Which?")


def test_a_turn_that_is_a_call_by_its_role_gets_the_tags_of_calls(read):
    turns = [{"from": "human", "value": "Where?"}, {"from": "function_call", "value": "{}"}]
    turns += [{"from": "observation", "value": "Nothing."}, {"from": "gpt", "value": "There."}]
    (trace,) = read({"conversations": turns, "image": "a.png"})
    assert trace.turns == ("<tool>\n{}\n</tool>", "There.") and trace.observed == (Observed("Nothing."),)


def test_system_prompts_are_kept_on_demand(read):
    rows = [
        {"messages": [SYSTEM, USER, ANSWER], "images": ["a.png"]},
        {"messages": [USER, ANSWER], "images": ["a.png"]},
    ]
    assert [trace.system for trace in read(*rows, keep_system=True)] == ["Be brief.", None]
    first, second = read(*rows)
    assert first.question == second.question  # the same prompt, which is computed once
    kept = read(*rows, keep_system=True)
    assert kept[0].question != kept[1].question and kept[0].picture == kept[1].picture


GOOD = {"messages": [USER, ANSWER], "images": ["a.png"]}
BAD = {
    "that are not JSON": "{",
    "without messages or conversations": {"text": "hm"},
    "without a picture in the question": {"messages": [USER | {"content": "What?"}, ANSWER]},
    "without a text in the question": {"messages": [USER | {"content": "<image>"}, ANSWER], "images": ["a.png"]},
    "whose last turn is not the assistant's": {"messages": [USER, CALL, CROP], "images": ["a.png", "b.png"]},
    "whose turns do not alternate": {"messages": [USER, CALL, ANSWER], "images": ["a.png"]},
    "with more <image> marks than pictures": {"messages": [USER, ANSWER], "images": []},
    "with more pictures than <image> marks": {"messages": [USER, ANSWER], "images": ["a.png", "b.png"]},
    "whose picture is not there": {"messages": [USER, ANSWER], "images": ["c.png"]},
    "whose picture is a web address": {"messages": [USER, ANSWER], "images": ["https://x.org/a.png"]},
    "whose content is not text": {"messages": [USER, {"role": "assistant", "content": None}], "images": ["a.png"]},
    "of the role judge": {"messages": [USER, {"role": "judge", "content": "1"}], "images": ["a.png"]},
    "with tool_calls": {"messages": [USER, ANSWER | {"tool_calls": [{}]}], "images": ["a.png"]},
    "with several pictures in one observation": {
        "messages": [USER, CALL, CROP | {"content": "<image><image>"}, ANSWER], "images": ["a.png", "b.png", "b.png"]
    },
    "with an empty observation": {"messages": [USER, CALL, CROP | {"content": " "}, ANSWER], "images": ["a.png"]},
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_a_broken_row_is_skipped_and_named(read, caplog, reason):
    (trace,) = read(BAD[reason], GOOD)
    assert trace.name == "t.jsonl/2"
    assert "skipped rows" in caplog.text and reason in caplog.text and ": 1" in caplog.text


@pytest.mark.parametrize(
    ("rows", "name", "message"),
    [
        ([{"question": "?"}, {"prompt": "?"}], "t.jsonl", 'in no known form; rows need "messages"'),
        ([{"question": "?"}, BAD["whose picture is not there"]], "t.json", "none of its rows is usable"),
        ([GOOD], "t.txt", "cannot be read; give a file that ends in .csv, .tsv, .jsonl"),
    ],
)
def test_a_file_without_a_usable_row_is_refused(read, rows, name, message):
    with pytest.raises(UserError, match=message):
        read(*rows, name=name)


def test_pictures_may_lie_elsewhere(read, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "c.png").write_bytes(BLUE)
    (trace,) = read({"messages": [USER, ANSWER], "images": ["c.png"]}, images=str(tmp_path / "far"))
    assert told(trace)[0] == [BLUE]
