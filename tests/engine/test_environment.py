"""Dialogues of several calls and several tools, from the text of a turn to the observation after it."""

from dataclasses import replace

import pytest
import torch
from conftest import ANSWER, call, compose_config, examples, make_rollout, scripted, zoom_tools
from helpers.compare import assert_close

from loupe.engine import update
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.records import StopReason, TrajectoryType
from loupe.runs.config import instantiate
from loupe.tools import ToolResult
from loupe.tools.errors import CallError, Failure


class Count:
    """A tool that answers with text, and refuses to count what is green."""

    instruction = "To count:{call}"
    description = "counts"

    def __init__(self, arguments):
        self.arguments = arguments

    def run(self, arguments, view):
        if arguments["color"] == "green":
            return Failure(CallError.REFUSED, "Error: green cannot be counted.")
        return ToolResult(text=f"{view.picture.width} columns, <|im_end|> {arguments['color']}")


def tools(*names: str, **settings):
    """The tools of these names, and one that counts."""
    made = instantiate(compose_config(f"tool=[{','.join(names)}]").tool)
    from loupe.tools.arguments import text

    return zoom_tools(**settings).having(**made.tools, count=Count({"color": text("color")}))


def follow(policy, *turns, box=None, **settings):
    """The group of one trajectory with these turns, whose calls may use all tools."""
    made = tools("zoom", "rotate", **settings)
    rollout = make_rollout(policy, ScriptedRollout, tools=made, script=[list(turns)], max_new_tokens=80)
    groups, skipped = rollout(examples(1), 1, step=0)
    assert not skipped
    return rollout, groups[0], groups[0].trajectories[0]


def written(name: str, *lines: str) -> str:
    return "<think>look</think>\n<tool>\n" + "\n".join([f"name: {name}", *lines]) + "\n</tool>"


def test_a_zoom_into_a_zoom(shared_policy):
    first, again = call("[20, 40]"), written("zoom", "keypoint: [0, 111]", "image: 2")
    _, group, trajectory = follow(shared_policy, first, again, ANSWER, max_calls=2)
    one, two = trajectory.events
    assert [event.status for event in trajectory.events] == ["ok", "ok"] and two.image == 2
    x1, y1, _, y2 = one.box
    assert two.box == (x1, y2 - 200, x1 + 200, y2)  # half of the crop, in its lower left corner
    assert two.keypoint == (pytest.approx(x1 + 0.5 * 400 / 112), pytest.approx(y1 + 111.5 * 400 / 112))
    crop = group.prompt.picture.crop(two.box).resize((112, 112), 3)
    assert_close(trajectory.images[1].pixels, shared_policy.patches(crop).pixels, name="pixels of the second crop")


def test_a_call_without_a_number_acts_on_the_picture_of_the_question(shared_policy):
    _, _, trajectory = follow(shared_policy, call("[20, 40]"), call("[20, 40]"), ANSWER, max_calls=2)
    assert trajectory.events[0].box == trajectory.events[1].box


def test_a_turned_picture_has_no_place_in_the_question(shared_policy):
    turns = written("rotate", "degrees: 90"), written("zoom", "keypoint: [3, 3]", "image: 2"), ANSWER
    rollout, group, trajectory = follow(shared_policy, *turns, max_calls=3)
    turned, zoomed = trajectory.events
    assert (turned.tool, turned.arguments, turned.pictured, turned.box) == ("rotate", {"degrees": 90}, True, None)
    assert zoomed.status == "ok" and zoomed.pictured and zoomed.box is None and zoomed.keypoint is None
    assert [image.grid for image in trajectory.images] == [(1, 8, 6), (1, 8, 8)]
    for shown, image in zip(rollout.environment.shown(trajectory, group.prompt), trajectory.images, strict=True):
        assert_close(shared_policy.patches(shown).pixels, image.pixels, name="pixels as shown")


def test_a_tool_may_answer_with_text(shared_policy):
    _, _, trajectory = follow(shared_policy, written("count", "color: red"), ANSWER)
    (event,) = trajectory.events
    assert (event.status, event.text, event.pictured) == ("ok", "1600 columns, <|im_end|> red", False)
    assert trajectory.images == [] and trajectory.type is TrajectoryType.TOOL_SUCCESS
    observed = shared_policy.tokenizer.decode(
        [i for i, s in zip(trajectory.ids, trajectory.sampled, strict=True) if not s]
    )
    assert "user\n1600 columns, <|im_end|> red<|im_end|>" in observed
    assert trajectory.ids.count(shared_policy.end_of_turn) == 2  # of the call and of the observation


def test_a_tool_may_refuse(shared_policy):
    _, _, trajectory = follow(shared_policy, written("count", "color: green"), ANSWER)
    (event,) = trajectory.events
    assert (event.status, event.text) == ("refused", "Error: green cannot be counted.")
    assert trajectory.type is TrajectoryType.TOOL_FAIL and trajectory.stop is StopReason.ANSWERED


def test_a_tool_over_its_own_budget_fails_and_the_others_go_on(shared_policy):
    turns = call("[20, 40]"), call("[20, 40]"), written("rotate", "degrees: 180"), ANSWER
    _, _, trajectory = follow(shared_policy, *turns, max_calls=4, budgets={"zoom": 1})
    assert [event.status for event in trajectory.events] == ["ok", "over_budget", "ok"]
    assert [event.tool for event in trajectory.events] == ["zoom", "zoom", "rotate"]
    assert trajectory.stop is StopReason.ANSWERED


@pytest.mark.parametrize("form", ["box_yaml", "box_json"])
def test_calls_with_boxes(shared_policy, form):
    made = zoom_tools(call=form)
    turn = f"<think>look</think>\n<tool>{made.form.write('zoom', {'box': '[0, 0, 28, 42]'})}</tool>"
    rollout = make_rollout(shared_policy, ScriptedRollout, tools=made, script=[[turn, ANSWER]], max_new_tokens=60)
    (trajectory,) = rollout(examples(1), 1, step=0)[0][0].trajectories
    assert trajectory.events[0].box == (0, 0, 400, 600) and trajectory.images[0].grid == (1, 8, 6)


def test_function_calls_need_a_template_that_explains_them(policy):
    policy.tokenizer.chat_template = policy.tokenizer.chat_template.replace("if tools and", "if false and")
    with pytest.raises(
        UserError, match=r"tool\.call=function: the chat template of this model.*use tool\.call=box_json"
    ):
        make_rollout(policy, tools=zoom_tools(call="function"))


def test_function_calls(policy):
    """The template's own form of tools, as Qwen3-VL and others have it."""
    template = policy.tokenizer.chat_template.replace("if tools and", "if false and")
    policy.tokenizer.chat_template = (
        "{% if tools %}{% for tool in tools %}# {{ tool.function.name }}: {{ tool | tojson }}\n{% endfor %}{% endif %}"
        + template
    )
    made = zoom_tools(call="function")
    turn = f"<think>look</think>\n<tool_call>{made.form.write('zoom', {'box': '[0, 0, 28, 42]'})}</tool_call>"
    rollout = make_rollout(policy, ScriptedRollout, tools=made, script=[[turn + " and on", ANSWER]], max_new_tokens=70)
    group = rollout(examples(1), 1, step=0)[0][0]
    (trajectory,) = group.trajectories
    assert '# zoom: {"type": "function"' in policy.tokenizer.decode(group.prompt.ids)
    assert trajectory.turns[0] == turn  # it ends at the closing tag
    assert trajectory.events[0].box == (0, 0, 400, 600)
    assert "<|im_start|>tool\n" in policy.tokenizer.decode(trajectory.ids)


def test_a_dialogue_that_grows_too_long_ends(shared_policy):
    turns = [call("[20, 40]"), call("[30, 40]"), ANSWER]
    whole = scripted(shared_policy, [turns], max_calls=2, max_new_tokens=60)[0]
    first_turn = len(shared_policy.tokenizer(turns[0])["input_ids"])
    length = len(whole.prompt.ids) + first_turn + 30
    group = scripted(shared_policy, [turns], max_calls=2, max_new_tokens=60, max_total_tokens=length)[0]
    (trajectory,) = group.trajectories
    assert len(group.prompt.ids) + len(trajectory.ids) <= length + first_turn
    assert trajectory.stop is StopReason.OUT_OF_TOKENS
    assert [event.status for event in trajectory.events] == ["ok", "observation_too_long"]
    assert len(trajectory.images) == 1 and trajectory.turns == turns[:2]


@torch.no_grad()
def test_long_dialogues_are_scored_as_they_were_sampled(shared_policy):
    """The update computes the same log-probabilities, with all pictures and texts between the turns."""
    turns = call("[20, 40]"), written("count", "color: red"), written("rotate", "degrees: 270", "image: 2"), ANSWER
    _, group, trajectory = follow(shared_policy, *turns, max_calls=3)
    assert [event.status for event in trajectory.events] == ["ok", "ok", "ok"] and len(trajectory.images) == 2
    ((_, logprobs),) = update.logprobs(shared_policy, [replace(group)], 1.0, 4096)
    torch.testing.assert_close(torch.tensor(logprobs), torch.tensor(trajectory.sampled_logprobs), rtol=1e-4, atol=1e-5)


def test_a_tool_that_does_not_repeat_its_result_leaves_the_rest_undrawn(shared_policy):
    turns = written("rotate", "degrees: 90"), call("[20, 40]"), ANSWER
    rollout, group, trajectory = follow(shared_policy, *turns, max_calls=2)
    zoom = rollout.dialogue.tools.tools["zoom"]
    rollout.dialogue.tools.tools["zoom"] = Count(zoom.arguments)
    rollout.dialogue.tools.tools["zoom"].run = lambda arguments, view: Failure(CallError.REFUSED, "Error: not again.")
    assert [picture.size for picture in rollout.environment.shown(trajectory, group.prompt)] == [(84, 112)]
