import pytest
import torch
from PIL import Image

from loupe.geometry import Frame
from loupe.records import OK, Example, Group, ImagePatches, Prompt, ToolEvent, Trajectory, TrajectoryType


def test_the_letters_of_a_text_are_not_taken_for_references():
    with pytest.raises(TypeError, match=r"references='10': must be a tuple of texts, such as \('10',\)"):
        Example("1", b"", "How many?", "10")


def test_rewards_are_equal_if_advantages_cannot_tell_them_apart():
    def group(*rewards):
        return Group(None, None, [Trajectory(0, reward=reward) for reward in rewards])

    assert group(0.3, 0.1 + 0.2).equal_rewards and 0.3 != 0.1 + 0.2
    assert not group(0.3, 0.3, 0.3001).equal_rewards


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([], TrajectoryType.NO_TOOL),
        ([OK], TrajectoryType.TOOL_SUCCESS),
        (["out_of_bounds"], TrajectoryType.TOOL_FAIL),
        (["out_of_bounds", OK], TrajectoryType.TOOL_SUCCESS),
        ([OK, "over_budget"], TrajectoryType.TOOL_SUCCESS),
        (["unclosed", "over_budget"], TrajectoryType.TOOL_FAIL),
    ],
)
def test_trajectory_type(statuses, kind):
    assert Trajectory(0, events=[ToolEvent(status) for status in statuses]).type == kind


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        ([], None),
        (["<answer>3</answer>"], "3"),
        (["<answer> two\nlines </answer>"], "two\nlines"),
        (["<answer>1</answer><answer>2</answer>"], "2"),
        (["<answer>1</answer>", "<tool>"], None),
        (["<answer></answer>"], ""),
        (["<answer>3"], None),
        (["<answer>1</answer></answer>"], "1"),
        (["<answer>1<answer>2</answer>"], "1<answer>2"),
        (["<answer>" * 100_000], None),  # in time linear in its length
    ],
)
def test_answer(turns, answer):
    assert Trajectory(0, turns=turns).answer == answer


def test_provenance_is_marked_as_tokens_are_appended():
    trajectory = Trajectory(0)
    image = ImagePatches(torch.zeros(16, 1), (1, 4, 4))
    trajectory.append_sampled(5, -0.5, 1.0)
    trajectory.append_written([7, 8], [image])
    trajectory.append_sampled(6, -0.25, 2.0)
    assert trajectory.ids == [5, 7, 8, 6]
    assert trajectory.sampled == [1, 0, 0, 1]
    assert trajectory.logprobs == [-0.5, 0.0, 0.0, -0.25]
    assert trajectory.sampled_logprobs == [-0.5, -0.25]
    assert trajectory.entropies == [1.0, 2.0]
    assert trajectory.n_sampled == 2
    assert trajectory.images == [image]
    assert image.tokens(merge=2) == image.light().tokens(merge=2) == 4
    assert image.light().pixels.numel() == 0


def test_crops_are_those_of_the_executed_calls():
    executed = ToolEvent(OK, keypoint=(5.0, 6.0), box=(1, 2, 9, 10), pictured=True)
    trajectory = Trajectory(0, events=[ToolEvent("not_yaml"), executed, ToolEvent("over_budget")])
    assert trajectory.crops == [(1, 2, 9, 10)]


def test_a_light_prompt_has_no_picture():
    picture = Image.new("RGB", (8, 8))
    prompt = Prompt([], [], picture, (8, 8), Frame.of("shown", (8, 8), (8, 8)))
    assert prompt.require_picture() is picture
    with pytest.raises(ValueError, match="light copy"):
        prompt.light().require_picture()
