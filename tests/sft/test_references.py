"""Reference answers as traces: which answer, in which coordinates, and what is left out."""

import re
from dataclasses import replace

import pytest
from conftest import examples, make_rollout

from loupe.data.datamodule import LoupeDataModule
from loupe.data.signs import Boxes
from loupe.errors import BadExample, UserError
from loupe.geometry import Frame
from loupe.records import Group
from loupe.rewards.boxes import read_box
from loupe.rewards.terms import accuracy
from loupe.sft.references import read_references, reference_turn, require_answer, require_template
from loupe.sft.traces import Trace
from loupe.sft.writer import Writer

FRAME = Frame.of("shown", (112, 84), (1600, 1200))
TEMPLATE = "<answer>{answer}</answer>"


def data(train, val=None):
    return LoupeDataModule(train, val, None, batch_size=1, eval_batch_size=1, seed=0)


def test_the_most_frequent_reference_is_written():
    (example,) = examples(1)
    assert (
        reference_turn(TEMPLATE, replace(example, references=("a", "b", "b", "a", "c", "b")), FRAME)
        == "<answer>b</answer>"
    )
    assert reference_turn(TEMPLATE, replace(example, references=("x", "y")), FRAME) == "<answer>x</answer>"
    alike = replace(example, references=("no", "Yes", "yes.", "no", "YES"))  # scores do not tell these apart
    assert reference_turn(TEMPLATE, alike, FRAME) == "<answer>Yes</answer>"
    choice = replace(example, references=("B",), options=("red", "blue"))
    assert reference_turn('{"option": {answer}}', choice, FRAME) == '{"option": B}'


@pytest.mark.parametrize(("coordinates", "expected"), [("shown", [7, 14, 21, 28]), ("original", [100, 200, 300, 400])])
def test_a_box_is_written_in_the_coordinates_of_the_prompt(coordinates, expected):
    (example,) = examples(1)
    frame = Frame.of(coordinates, (112, 84), (1600, 1200))
    asked = replace(example, references=(), answer_box=(100, 200, 300, 400))
    assert reference_turn(TEMPLATE, asked, frame) == f"<answer>{expected}</answer>"
    assert read_box(str(expected), frame) == pytest.approx((100, 200, 300, 400), abs=1e-9)


def test_a_box_that_is_lost_in_rounding_is_refused():
    (example,) = examples(1)
    with pytest.raises(BadExample, match=r"the box is rounded to \[1, 14, 1, 28\], which is empty; raise resolution"):
        reference_turn(TEMPLATE, replace(example, answer_box=(12, 200, 16, 400)), FRAME)


@pytest.mark.parametrize("dataset", ["signs", "boxes"])
def test_the_lesson_answers_the_question_right(shared_policy, dataset):
    train = examples(3) if dataset == "signs" else [Boxes("train", 0, 3)[i] for i in range(3)]
    writer = Writer(make_rollout(shared_policy).environment, "<think>I can see it.</think>\n<answer>{answer}</answer>")
    for trace in read_references(data(train), ["train"]):
        (lesson,), errors = writer.lessons([trace])
        assert not errors
        prompt = writer.environment.dialogue.prompt(trace.example())
        trajectory = writer.trajectory(trace, prompt)
        assert lesson.ids == prompt.ids + trajectory.ids
        assert trajectory.turns[0].startswith("<think>I can see it.</think>\n<answer>")
        assert accuracy(trajectory, Group(trace.example(), prompt, [trajectory])) == 1


def test_questions_without_a_reference_are_left_out_and_counted(caplog):
    first, second, third = examples(3)
    traces = read_references(data([first, replace(second, references=()), third]), ["train"])
    assert [trace.name for trace in traces] == [first.id, third.id] == [trace.question for trace in traces]
    assert "train questions: skipped rows without a reference answer: 2" in caplog.text


def test_splits_are_chosen():
    first, second = examples(2)
    assert [trace.name for trace in read_references(data([first], [second]), ["val"])] == [second.id]
    with pytest.raises(UserError, match=r"traces=references: data has no questions with a reference answer in test"):
        read_references(data([first], [second]), ["test"])


@pytest.mark.parametrize("template", ["<answer></answer>", "{answer} {answer}", 3, None])
def test_bad_templates(template):
    with pytest.raises(UserError, match=r"reference_turn=.*: must be text that contains \{answer\} once"):
        require_template(template)


def test_a_trace_with_turns_keeps_them(shared_policy):
    (example,) = examples(1)
    writer = Writer(make_rollout(shared_policy).environment, "no")
    trace = Trace("x", lambda: example, "x", "x", ("<answer>5</answer>",))
    assert writer.trajectory(trace, writer.environment.dialogue.prompt(example)).answer == "5"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{answer}", "must have {answer} in <answer></answer>, and no call"),
        ("<answer>{answer}", "must have {answer} in <answer></answer>, and no call"),
        ("<tool>{answer}</tool><answer>1</answer>", "must have {answer} in <answer></answer>, and no call"),
        ("<think>{answer}</think><answer>1</answer>", "must have {answer} in its last <answer></answer>"),
        ("<answer>{answer}</answer>", "must begin with prompt.prefill='<think>'"),
    ],
)
def test_a_template_that_is_never_right(template, fault):
    with pytest.raises(UserError, match=re.escape(fault)):
        require_answer(template, "tool", "<think>")


def test_a_template_that_can_be_right():
    require_answer("<think>It is {answer}? No:</think>\n<answer>{answer}</answer>", "tool", "<think>It")
