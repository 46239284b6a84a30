"""Traces: exchanges that are recorded somewhere, before they are written out as lessons for a policy."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from loupe.errors import require_number
from loupe.records import Example


@dataclass(frozen=True)
class Observed:
    """What a trace says that followed a turn: a text, a picture, or both."""

    text: str = ""
    image: Path | bytes | None = None


@dataclass(frozen=True)
class Trace:
    """An exchange to learn from.

    name: of the row, for messages. example: makes the question when it is needed, because it may hold a picture.
    question: the same for traces with the same prompt. picture: names the pictures of the question.
    turns: what the policy is to write, one text a turn; none stand for one turn with the question's reference answer.
    observed: what followed each turn but the last one. None if the calls in the turns are to be executed again; calls
        then says how they ended before ("ok" or the kind of failure).
    system: a system prompt of its own; None for that of the project.
    """

    name: str
    example: Callable[[], Example]
    question: str
    picture: str
    turns: tuple[str, ...] = ()
    observed: tuple[Observed, ...] | None = None
    calls: tuple[str, ...] = ()
    system: str | None = None


def picture_name(example: Example) -> str:
    """The same text for questions about the same pictures."""
    return "\n".join(map(_name, (*example.earlier_images, example.image)))


def _name(image: object) -> str:
    return sha256(image).hexdigest() if isinstance(image, bytes) else str(image)


def by_question(traces: list[Trace]) -> list[list[Trace]]:
    """The traces of each prompt, in their original order."""
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.question, []).append(trace)
    return list(groups.values())


def hold_out(traces: list[Trace], share: float) -> tuple[list[Trace], list[Trace]]:
    """Traces to learn from, and those that are held out: all about a ``share`` of the pictures.

    Which pictures these are depends on their names alone, so that runs with different seeds stay comparable.
    """
    require_number("heldout", share, 0, 0.9)
    pictures = sorted({trace.picture for trace in traces}, key=lambda name: sha256(name.encode()).digest())
    held = set(pictures[: int(share * len(pictures))])
    return [t for t in traces if t.picture not in held], [t for t in traces if t.picture in held]
