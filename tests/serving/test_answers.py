import base64
import io
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import ANSWER, call, make_rollout, zoom_tools

pytest.importorskip("fastapi", reason="pip install -e '.[serve]'")

from helpers.serving import encoded
from PIL import Image

from loupe.data.scenes import SignScene
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import BadExample, UserError
from loupe.records import Example
from loupe.serving.answers import completion
from loupe.serving.requests import Asked, Refused

TOOLS = zoom_tools(crop=80)


@pytest.fixture(scope="module")
def picture():
    return encoded(SignScene("test", 0, 0).render().resize((320, 240)))


def test_the_exchange_is_told_with_the_crop_as_shown(shared_policy, picture):
    rollout = make_rollout(shared_policy, ScriptedRollout, tools=TOOLS, script=[[call("[30, 40]"), ANSWER]])
    answered = completion({"policy": rollout}, Asked("policy", Example("a", picture, "What?", ())))
    (choice,) = answered["choices"]
    assert choice["message"]["content"] == "472" and choice["finish_reason"] == "stop"
    told = choice["loupe"]
    assert (told["size"], told["shown_size"], told["seed"]) == ((320, 240), (112, 84), None)
    assert told["turns"] == [call("[30, 40]"), ANSWER] and (told["stop"], told["type"]) == ("answered", "tool_success")
    (called,) = told["calls"]
    assert called["box"] == (47, 75, 127, 155) and called["arguments"] == {"keypoint": [30, 40]}
    shown = Image.open(io.BytesIO(base64.b64decode(called["crop"].partition(",")[2])))
    tool = TOOLS.tools["zoom"]
    (group, *_), _ = rollout([Example("a", picture, "What?", ())], 1, step=0)
    result = tool.run({"keypoint": [30, 40]}, group.prompt.views()[-1])
    assert np.array_equal(np.asarray(shown), np.asarray(rollout.dialogue.close_up(result, 112)))
    usage, prompt = answered["usage"], len(group.prompt.ids)
    written = group.trajectories[0].n_sampled
    assert usage == {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    assert told["observation_tokens"] == group.trajectories[0].sampled.count(0) > 0


def test_a_temperature_that_the_decoder_refuses_is_the_clients_mistake(shared_policy, picture, monkeypatch):
    rollout = make_rollout(shared_policy, ScriptedRollout, tools=TOOLS, script=[[ANSWER]])
    error = UserError("rollout.temperature=0.005: must be a number from 0.01 to 2")
    monkeypatch.setattr(rollout, "changed", Mock(side_effect=error))
    with pytest.raises(Refused, match=r"temperature=0\.005: .* from 0\.01 to 2") as refused:
        completion({"policy": rollout}, Asked("policy", Example("a", picture, "What?", ()), temperature=0.005))
    assert (refused.value.status, refused.value.param) == (400, "temperature")


def test_an_answer_ends_before_the_first_stop_text(shared_policy, picture):
    rollout = make_rollout(shared_policy, ScriptedRollout, tools=TOOLS, script=[[ANSWER]])
    asked = Asked("policy", Example("a", picture, "What?", ()), stop=("2", "72", "x"))
    (choice,) = completion({"policy": rollout}, asked)["choices"]
    assert choice["message"]["content"] == "4" and choice["loupe"]["answer"] == "472"


def test_a_failed_call_and_no_answer(shared_policy, picture):
    rollout = make_rollout(
        shared_policy, ScriptedRollout, tools=TOOLS, script=[[call("[300, 40]"), "<think>hm<|im_end|>"]]
    )
    (choice,) = completion({"policy": rollout}, Asked("policy", Example("a", picture, "What?", ())))["choices"]
    assert choice["message"]["content"] == "" and choice["loupe"]["answer"] is None
    assert (choice["finish_reason"], choice["loupe"]["stop"]) == ("stop", "no_answer")
    (called,) = choice["loupe"]["calls"]
    assert called["status"] == "out_of_bounds" and "lies outside" in called["text"] and called["crop"] is None


def test_samples_depend_on_seed_and_temperature_and_are_cut(shared_policy, picture):
    rollout = make_rollout(shared_policy, max_new_tokens=8)

    def turns(**settings):
        asked = Asked("policy", Example("a", picture, "What?", ()), **settings)
        return [choice["loupe"]["turns"] for choice in completion({"policy": rollout}, asked)["choices"]]

    sampled = turns(samples=2, temperature=1, seed=1)
    assert sampled == turns(samples=2, temperature=1, seed=1) != turns(samples=2, temperature=1, seed=2)
    assert sampled[0] != sampled[1] and sampled != turns(samples=2, temperature=0.01, seed=1)
    assert turns() == turns(seed=5)
    asked = Asked("policy", Example("a", picture, "What?", ()), max_tokens=3)
    answered = completion({"policy": rollout}, asked)
    assert answered["usage"]["completion_tokens"] == 3 and answered["choices"][0]["finish_reason"] == "length"


def test_a_picture_that_cannot_be_decoded(shared_policy, picture):
    rollout = make_rollout(shared_policy)
    with pytest.raises(BadExample, match=r"messages\[0\]: .*corrupt, truncated"):
        completion({"policy": rollout}, Asked("policy", Example("messages[0]", picture[:2000], "What?", ())))
