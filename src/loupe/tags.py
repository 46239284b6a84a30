"""The tags in what a policy writes: ``<think>``, ``<answer>``, and the one around a tool call."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """What a turn of the policy contains.

    attempted: there is an opening tag of a call, closed or not. call: the text between the tags, None if they are not
    closed. answered: there is a complete ``<answer>``.
    """

    attempted: bool
    call: str | None
    answered: bool


def read_turn(text: str, tag: str = "tool") -> Turn:
    """Parse the decoded text of one turn. tag: that of calls."""
    _, opened, rest = text.partition(f"<{tag}>")
    call, closed, _ = rest.partition(f"</{tag}>")
    _, _, answer = text.partition("<answer>")
    return Turn(attempted=bool(opened), call=call if closed else None, answered="</answer>" in answer)


def tagged(text: str, tag: str) -> list[str]:
    """Whatever stands between ``<tag>`` and the next ``</tag>``, in linear time; an unclosed tag has no content."""
    found, start = [], 0
    while (opened := text.find(f"<{tag}>", start)) >= 0 and (closed := text.find(f"</{tag}>", opened)) >= 0:
        found.append(text[opened + len(tag) + 2 : closed])
        start = closed + len(tag) + 3
    return found
