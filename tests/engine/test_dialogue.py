import dataclasses

import pytest
from conftest import ANSWER, OVERVIEW, call, examples, make_rollout, prompt_texts, scripted

from loupe.engine.dialogue import Dialogue, Turn, read_turn
from loupe.errors import BadExample, UserError
from loupe.tools.zoom import NoTool, ZoomTool


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("<think>a</think>\n<answer>3</answer>", Turn(False, None, True)),
        ("<think>a</think>\n<tool>name: zoom</tool>", Turn(True, "name: zoom", False)),
        ("<think>a</think>\n<tool>name: zo", Turn(True, None, False)),
        ("<tool>name: zoom <answer>3</answer>", Turn(True, None, True)),
        ("no tags at all", Turn(False, None, False)),
        ("</tool>", Turn(False, None, False)),
        ("3</answer>", Turn(False, None, False)),
        ("<answer>3", Turn(False, None, False)),
        ("</tool><tool>x", Turn(True, None, False)),
    ],
)
def test_read_turn(text, turn):
    assert read_turn(text) == turn


def test_the_prompt_states_the_size_after_rounding_and_expands_the_placeholder(shared_policy):
    prompt = make_rollout(shared_policy).dialogue.prompt(examples(1)[0])
    text = shared_policy.tokenizer.decode(prompt.ids)
    assert "The picture is 112x84 pixels." in text
    assert text.endswith("<|im_start|>assistant\n")
    assert prompt.shown_size == (112, 84)
    assert prompt.picture.size == (1600, 1200)
    assert prompt.ids.count(shared_policy.image_token) == 12


def test_the_size_is_the_rounded_one_when_resolution_is_off_the_grid(shared_policy):
    dialogue = Dialogue(shared_policy, 120, NoTool(), **prompt_texts())
    prompt = dialogue.prompt(examples(1)[0])  # 120x90 goes to 112x84
    assert prompt.shown_size == (112, 84)


def test_three_turns_written_out(shared_policy):
    """Two calls and an answer: the author of every token."""
    turns = [call("[20, 40]"), call("[300, 1]"), ANSWER]
    trajectory = scripted(shared_policy, [turns], max_calls=2, max_new_tokens=60)[0].trajectories[0]
    tokenize = lambda text: shared_policy.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    crop = "<|im_end|>\n<|im_start|>user\n<|vision_start|>" + "<|image_pad|>" * 16 + "<|vision_end|>"
    back = "<|im_end|>\n<|im_start|>assistant\n"
    error = "<|im_end|>\n<|im_start|>user\nError: the keypoint [300, 1] lies outside the 112x84 picture."
    pieces = [(turns[0], 1), (crop + back, 0), (turns[1], 1), (error + back, 0), (turns[2], 1)]
    assert trajectory.ids == [token for text, _ in pieces for token in tokenize(text)]
    assert trajectory.sampled == [mark for text, mark in pieces for _ in tokenize(text)]
    assert trajectory.turns == turns
    assert [event.status for event in trajectory.events] == ["ok", "out_of_bounds"]


def test_a_sampled_end_of_turn_is_not_repeated(shared_policy):
    script = [["<think>hm</think>\n<tool>\nname: zo<|im_end|>", ANSWER]]
    trajectory = scripted(shared_policy, script, max_new_tokens=60)[0].trajectories[0]
    text = shared_policy.tokenizer.decode(trajectory.ids)
    assert "name: zo<|im_end|>\n<|im_start|>user\nError: the tool call was not closed." in text
    assert trajectory.turns[0] == "<think>hm</think>\n<tool>\nname: zo"


def test_an_empty_question_is_a_bad_row(shared_policy):
    example = dataclasses.replace(examples(1)[0], question="  ")
    with pytest.raises(BadExample, match="signs/train/0/0: the question is empty"):
        make_rollout(shared_policy).dialogue.prompt(example)


def test_a_placeholder_in_the_question_is_a_bad_row(shared_policy):
    example = dataclasses.replace(examples(1)[0], question="What is <|image_pad|> here?")
    with pytest.raises(BadExample, match="placeholder token"):
        make_rollout(shared_policy).dialogue.prompt(example)


def test_braces_and_image_marks_in_a_question_are_text(shared_policy):
    example = dataclasses.replace(examples(1)[0], question="Is {this} <image> fine?")
    prompt = make_rollout(shared_policy).dialogue.prompt(example)
    assert "Is {this} <image> fine?" in shared_policy.tokenizer.decode(prompt.ids)


@pytest.mark.parametrize(
    ("coordinates", "sentence"),
    [
        ("shown", "The picture is 112x84 pixels. What"),
        ("original", "112x84 pixels. Coordinates count in pixels of the original, which is 1600x1200. What"),
        ("relative_1000", "112x84 pixels. Coordinates count in thousandths of width and height. What"),
    ],
)
def test_the_prompt_states_the_coordinate_frame(shared_policy, coordinates, sentence):
    dialogue = make_rollout(shared_policy, tool=ZoomTool(400, coordinates=coordinates)).dialogue
    assert sentence in shared_policy.tokenizer.decode(dialogue.prompt(examples(1)[0]).ids)


def test_a_tool_that_may_not_be_called_is_not_explained(shared_policy):
    assert "<tool>" not in make_rollout(shared_policy, max_calls=0).dialogue.system
    assert "<tool>" in make_rollout(shared_policy, max_calls=1).dialogue.system


@pytest.mark.parametrize("resolution", [0, -1, 27, "big", 112.0, True])
def test_bad_resolution(shared_policy, resolution):
    with pytest.raises(UserError, match=f"resolution={resolution}: must be a whole number of pixels, 28"):
        Dialogue(shared_policy, resolution, NoTool(), **prompt_texts())


def test_templates_must_place_the_picture(shared_policy):
    with pytest.raises(UserError, match=r"prompt\.user"):
        Dialogue(shared_policy, OVERVIEW, NoTool(), **prompt_texts() | {"user": "{question}"})


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("<image>hello", r"prompt\.user='<image>hello': must contain \{question\}"),
        ("<image>{question.__class__}", r"prompt\.user: only \{frame\}, \{height\}, \{question\}, \{width\} can be"),
        ("<image>{question[0]}", r"prompt\.user: only .* can be filled in; double other braces"),
        ("<image>{0}{question}", r"prompt\.user: only .* can be filled in"),
    ],
)
def test_a_prompt_asks_the_question_and_nothing_odd(shared_policy, user, message):
    with pytest.raises(UserError, match=message):
        Dialogue(shared_policy, OVERVIEW, NoTool(), **prompt_texts() | {"user": user})
