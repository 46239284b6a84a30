"""What answers the policy: it reads a turn, executes the call in it, and writes the observation.

It knows nothing of how tokens are sampled, so that a recorded exchange can be written out again in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from PIL import Image

from loupe.engine.dialogue import Dialogue, Observation
from loupe.errors import UserError, require_int
from loupe.geometry import View
from loupe.records import OK, Prompt, StopReason, ToolEvent, Trajectory
from loupe.tags import read_turn
from loupe.tools import ToolResult
from loupe.tools.errors import CallError, Failure
from loupe.tools.parse import Call

SHORTEST = "Error."
"""The observation of a failed call if there is no room for the reason."""


@dataclass(eq=False)
class Exchange:
    """A trajectory that is being written. views: the pictures shown so far, as tools find them."""

    trajectory: Trajectory
    prompt: Prompt
    views: list[View] = field(init=False)

    def __post_init__(self) -> None:
        self.views = self.prompt.views()


@dataclass(eq=False)
class Environment:
    """Answers the turns of a policy.

    max_observation_tokens: tokens of one observation; a call with a larger one fails. max_total_tokens: tokens of a
    prompt and all that follows it; an observation that would exceed them ends the trajectory instead.
    """

    dialogue: Dialogue
    max_observation_tokens: int = 4096
    max_total_tokens: int = 32768

    def __post_init__(self) -> None:
        for name in ("max_observation_tokens", "max_total_tokens"):
            require_int(f"rollout.{name}", getattr(self, name), 1)
        least = len(self.dialogue.observe(Failure(CallError.UNCLOSED, SHORTEST), last_token=-1).ids)
        if self.max_observation_tokens < least:
            raise UserError(f"rollout.max_observation_tokens={self.max_observation_tokens}: must be {least} or more")

    def answer(self, exchange: Exchange, text: str, over: bool) -> Observation | None:
        """Read a turn and record what was in it; returns the observation after it, or None if the trajectory is over.

        text: the decoded turn, prefill included; its tokens are in the trajectory already. over: whether the policy
        ended the turn itself.
        """
        trajectory, tools = exchange.trajectory, self.dialogue.tools
        trajectory.turns.append(text)
        turn = read_turn(text, tools.form.tag)
        failed = CallError.UNCLOSED
        if turn.answered and turn.call is None:
            trajectory.stop = StopReason.ANSWERED
        elif not turn.attempted:
            trajectory.stop = StopReason.NO_ANSWER if over else StopReason.OUT_OF_TOKENS
        elif len(trajectory.events) >= tools.max_calls:
            trajectory.stop, failed = StopReason.OUT_OF_TURNS, CallError.OVER_BUDGET
        elif not over:
            trajectory.stop = StopReason.OUT_OF_TOKENS
        else:
            return self._observe(exchange, turn.call)
        if turn.attempted:
            trajectory.events.append(ToolEvent(failed))
        return None

    def shown(self, trajectory: Trajectory, prompt: Prompt) -> list[Image.Image]:
        """The pictures of the observations as the policy saw them. The calls are executed again, up to one that fails
        this time, as that of a tool that depends on other things may.
        """
        exchange, pictures = Exchange(trajectory, prompt), []
        for number, event in enumerate(trajectory.events):
            if event.tool is None or not event.pictured:
                continue
            call = Call(event.tool, event.arguments or {}, event.image)
            result, view = self._execute(exchange, call, trajectory.events[:number])
            if isinstance(result, Failure) or result.image is None or view is None:
                break
            pictures.append(self.dialogue.close_up(result, max(prompt.shown_size)))
            exchange.views.append(self.dialogue.tools.view_of(result, view, pictures[-1].size))
        return pictures

    def _observe(self, exchange: Exchange, text: str | None) -> Observation | None:
        """Execute the call ``text`` (None: never closed) and append its observation."""
        trajectory = exchange.trajectory
        call: Call | Failure = Failure(CallError.UNCLOSED, "Error: the tool call was not closed.")
        if text is not None:
            call = self.dialogue.tools.parse(text)
        result, view = self._execute(exchange, call, trajectory.events)
        result, observation = self._fitted(exchange, result)
        event = ToolEvent("") if isinstance(call, Failure) else ToolEvent("", call.name, call.arguments, call.image)
        if len(exchange.prompt.ids) + len(trajectory.ids) + len(observation.ids) > self.max_total_tokens:
            trajectory.events.append(replace(event, status=CallError.OBSERVATION_TOO_LONG))
            trajectory.stop = StopReason.OUT_OF_TOKENS
            return None
        trajectory.events.append(_filled(event, result, view))
        trajectory.append_written(observation.ids, observation.images)
        if observation.shown and view and not isinstance(result, Failure):
            exchange.views.append(self.dialogue.tools.view_of(result, view, observation.shown.size))
        return observation

    def _execute(
        self, exchange: Exchange, call: Call | Failure, earlier: Sequence[ToolEvent]
    ) -> tuple[ToolResult | Failure, View | None]:
        """The result of a call after the ``earlier`` ones, and the picture that it acted on, if there is one."""
        if isinstance(call, Failure):
            return call, None
        tools, asked = self.dialogue.tools, len(exchange.prompt.earlier)
        view = tools.find(call, exchange.views, asked, [event.tool for event in earlier])
        if isinstance(view, Failure):
            return view, None
        return tools.tools[call.name].run(call.arguments, view), view

    def _fitted(self, exchange: Exchange, result: ToolResult | Failure) -> tuple[ToolResult | Failure, Observation]:
        """A result and its observation; a failure if the result takes too many tokens."""
        long_side, last_token = max(exchange.prompt.shown_size), exchange.trajectory.ids[-1]
        observe = partial(self.dialogue.observe, long_side=long_side, last_token=last_token)
        observation = observe(result)
        if len(observation.ids) > self.max_observation_tokens and not isinstance(result, Failure):
            result = Failure(CallError.OBSERVATION_TOO_LONG, "Error: the result is too large to show.")
            observation = observe(result)
        if len(observation.ids) > self.max_observation_tokens and isinstance(result, Failure):
            observation = observe(replace(result, message=SHORTEST))
        return result, observation


def _filled(event: ToolEvent, result: ToolResult | Failure, view: View | None) -> ToolEvent:
    """The record of a call with its result. view: the picture that an executed call acted on."""
    if isinstance(result, Failure):
        return replace(event, status=result.kind, text=result.message)
    assert view is not None
    keypoint, box = view.place(result.keypoint), view.place_box(result.box)
    return replace(event, status=OK, text=result.text, keypoint=keypoint, box=box, pictured=result.image is not None)
