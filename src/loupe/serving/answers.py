"""Answering a question, and the answer in the form of OpenAI's chat completions."""

import base64
import io
import time
import uuid
from collections.abc import Mapping

from omegaconf import DictConfig
from PIL import Image

from loupe.engine.environment import Environment
from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import UserError
from loupe.records import Group, StopReason, Trajectory
from loupe.runs.build import build_rollout
from loupe.serving.requests import Asked, Refused
from loupe.tools.toolbox import Toolbox

POLICY, WITHOUT_TOOL = "policy", "policy-no-tool"
"""The names of the models that a client can choose from."""


def build_rollouts(cfg: DictConfig, policy: Policy, tools: Toolbox) -> dict[str, GroupRollout]:
    """The ways to ask the policy, by the name of a model: as trained and, if there is a tool, without it."""
    rollouts = {POLICY: build_rollout(cfg, policy, tools)}
    if tools.max_calls:
        rollouts[WITHOUT_TOOL] = build_rollout(cfg, policy, tools.without())
    return rollouts


def completion(rollouts: Mapping[str, GroupRollout], asked: Asked) -> dict:
    """The answers to one question. Raises BadExample for one that cannot be asked, Refused for how it is asked.

    The content of a message is the policy's answer, empty if it gives none. The field ``loupe`` of a choice holds the
    whole exchange.
    """
    rollout = rollouts[asked.model]
    if asked.temperature:
        try:
            rollout = rollout.changed(temperature=asked.temperature, seed=asked.seed)
        except UserError as error:  # vLLM takes fewer temperatures
            raise Refused(f"temperature={asked.temperature}: {error}", param="temperature") from error
    if asked.max_tokens:
        rollout = rollout.changed(max_new_tokens=min(rollout.max_new_tokens, asked.max_tokens))
    groups, skipped = rollout([asked.example], asked.samples, step=0, greedy=not asked.temperature)
    if skipped:
        raise skipped[0]
    (group,) = groups
    read, written = len(group.prompt.ids), sum(trajectory.n_sampled for trajectory in group.trajectories)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [_choice(t, group, rollout.environment, asked) for t in group.trajectories],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _choice(trajectory: Trajectory, group: Group, environment: Environment, asked: Asked) -> dict:
    content = trajectory.answer or ""
    end = min((content.index(text) for text in asked.stop if text in content), default=len(content))
    return {
        "index": trajectory.sample,
        "message": {"role": "assistant", "content": content[:end], "refusal": None},
        "finish_reason": "length" if trajectory.stop is StopReason.OUT_OF_TOKENS else "stop",
        "logprobs": None,
        "loupe": exchange(trajectory, group, environment) | {"seed": asked.seed if asked.temperature else None},
    }


def exchange(trajectory: Trajectory, group: Group, environment: Environment) -> dict:
    """What was said and shown.

    size, shown_size: (width, height) of the question's picture, as it was sent and as the policy saw it. calls: in the
    order of the turns that make them, with keypoint and box in pixels of the picture as it was sent, and the picture of
    the result exactly as the policy saw it, a data URL. observation_tokens: those of all results.
    """
    pictures = iter(environment.shown(trajectory, group.prompt))
    calls = []
    for event in trajectory.events:
        crop = next(pictures, None) if event.pictured else None
        called = {"tool": event.tool, "arguments": event.arguments, "image": event.image, "status": event.status}
        seen = {"text": event.text, "keypoint": event.keypoint, "box": event.box, "crop": crop and data_url(crop)}
        calls.append(called | seen)
    return {
        "size": group.prompt.require_picture().size,
        "shown_size": group.prompt.shown_size,
        "turns": trajectory.turns,
        "calls": calls,
        "answer": trajectory.answer,
        "stop": trajectory.stop,
        "type": trajectory.type,
        "observation_tokens": len(trajectory.ids) - trajectory.n_sampled,
    }


def data_url(picture: Image.Image) -> str:
    """``picture`` as a PNG in a data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
