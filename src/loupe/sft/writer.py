"""Writes traces out as lessons, token for token as the rollout would have recorded them."""

from collections.abc import Sequence
from dataclasses import dataclass

from loupe.engine.environment import Environment, Exchange
from loupe.errors import BadExample
from loupe.pictures import open_picture
from loupe.records import Prompt, Trajectory
from loupe.sft.lessons import Lesson
from loupe.sft.references import ANSWER, reference_turn
from loupe.sft.traces import Observed, Trace
from loupe.tools import ToolResult

REPEAT = "repeat the settings of that job (crop, resolution, tool, prompt)"


@dataclass(eq=False)
class Writer:
    """Writes lessons for a policy.

    environment: writes prompts and observations, and executes calls. template: of a turn with a reference answer.
    """

    environment: Environment
    template: str = ANSWER

    def lessons(self, traces: Sequence[Trace]) -> tuple[list[Lesson], list[BadExample]]:
        """The lessons of traces with the same prompt, and the errors of those that cannot be written."""
        try:
            prompt = self._prompt(traces[0])
        except BadExample as error:
            return [], [error]
        lessons, errors = [], []
        for trace in traces:
            try:
                lessons.append(Lesson.of(prompt, self.trajectory(trace, prompt)))
            except BadExample as error:
                errors.append(BadExample(f"{trace.name}: {error}"))
        return lessons, errors

    def _prompt(self, trace: Trace) -> Prompt:
        dialogue = self.environment.dialogue
        if trace.system is not None:
            dialogue = dialogue.with_system(trace.system)
        return dialogue.prompt(trace.example())

    def trajectory(self, trace: Trace, prompt: Prompt) -> Trajectory:
        """The trajectory in which the policy writes the turns of the trace. Raises BadExample."""
        trajectory = Trajectory(0)
        exchange = Exchange(trajectory, prompt)
        turns = trace.turns or (reference_turn(self.template, trace.example(), prompt.frame),)
        for number, turn in enumerate(turns):
            text = turn.rstrip()
            for token in self._tokens(text if number else _without(prompt.prefill, text)):
                trajectory.append_sampled(token, 0.0, 0.0)
            last = number == len(turns) - 1
            if trace.observed is not None:
                trajectory.turns.append(text)
                if not last:
                    self._show(exchange, trace.observed[number])
            elif (self.environment.answer(exchange, text, over=True) is None) != last:
                raise BadExample(f"turn {number + 1} is answered otherwise now; {REPEAT}")
        self._check(trace, prompt, trajectory)
        return trajectory

    def _tokens(self, text: str) -> list[int]:
        """A turn as the policy writes it: up to a text that ends turns, or with a token that does."""
        dialogue = self.environment.dialogue
        ids = dialogue.policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        if special := dialogue.policy.banned.intersection(ids):
            written = dialogue.policy.tokenizer.convert_ids_to_tokens(min(special))
            raise BadExample(f"a turn holds {written}, which the policy must not write")
        return ids if text.endswith(dialogue.tools.stop_texts) else [*ids, dialogue.policy.end_of_turn]

    def _show(self, exchange: Exchange, observed: Observed) -> None:
        """Append what the trace says that followed a turn."""
        picture = None if observed.image is None else open_picture(observed.image)
        result, trajectory = ToolResult(picture, observed.text), exchange.trajectory
        long_side = max(exchange.prompt.shown_size)
        observation = self.environment.dialogue.observe(result, trajectory.ids[-1], long_side)
        trajectory.append_written(observation.ids, observation.images)

    def _check(self, trace: Trace, prompt: Prompt, trajectory: Trajectory) -> None:
        ended = tuple(event.status for event in trajectory.events)
        if trace.observed is None and ended != trace.calls:
            raise BadExample(f"its calls end in {_listed(ended)} now, not in {_listed(trace.calls)}; {REPEAT}")
        length, most = len(prompt.ids) + len(trajectory.ids), self.environment.max_total_tokens
        if length > most:
            raise BadExample(f"takes {length} tokens, more than rollout.max_total_tokens={most}")


def _listed(calls: Sequence[str]) -> str:
    return ", ".join(calls) or "none"


def _without(prefill: str, text: str) -> str:
    """A first turn without what is written for the policy."""
    if not text.startswith(prefill):
        raise BadExample(f"its first turn does not begin with prompt.prefill={prefill!r}")
    return text.removeprefix(prefill)
