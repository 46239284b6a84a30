"""Traces as files: json, jsonl and the other tables of ``data.files``, in the two common forms of conversations.

Rows hold ``messages`` of {"role", "content"} or, as ShareGPT has it, ``conversations`` of {"from", "value"}. Their
pictures are parts of the content, or in ``images`` (or ``image``) and marked by ``<image>`` in the texts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from os.path import isfile
from pathlib import Path
from typing import Any

from loupe.data import columns, files, tables
from loupe.errors import BadExample, UserError, is_unicode
from loupe.records import Example
from loupe.sft.traces import Observed, Trace, picture_name

LISTS = ("messages", "conversations")
SYSTEM, USER, ASSISTANT, CALL, RESULT = "system", "user", "assistant", "call", "result"
ROLES = {
    **{"system": SYSTEM, "user": USER, "human": USER, "assistant": ASSISTANT, "gpt": ASSISTANT},
    **{"function_call": CALL, "tool_call": CALL},
    **dict.fromkeys(("tool", "function", "observation", "tool_response"), RESULT),
}
"""What each role is called, in either form."""
MARK = columns.IMAGE_MARK
OTHER_FORM = f"without {' or '.join(LISTS)}"
KNOWN = 'rows need "messages" of {"role", "content"}, or "conversations" of {"from", "value"}; see docs/sft.md'

Picture = Path | bytes


@dataclass(frozen=True)
class Message:
    """A turn of a row: who speaks, the text without marks, and its pictures."""

    role: str
    text: str
    images: list[Picture]


def read_traces(file: Path, images: str | None, keep_system: bool, tag: str) -> list[Trace]:
    """The usable rows of a file; the others are named in the log.

    images: the folder that picture paths are relative to, if it is not the file's own. keep_system: whether traces keep
    system prompts of their own. tag: that of calls, put around turns whose role says that they are calls.
    Raises UserError for a file in another form or without a usable row.
    """
    if file.suffix.lower() not in files.READERS:
        raise UserError(f"traces={file}: cannot be read; give a file that ends in {', '.join(files.READERS)}")
    folder = Path(images) if images else file.parent
    traces: list[Trace] = []
    skipped: dict[str, list[int]] = {}
    for index, row in enumerate(files.read_rows(file)):  # one at a time: each may hold pictures
        try:
            if isinstance(row, str):
                raise BadExample(row)
            traces.append(_trace(row, f"{file.name}/{index + 1}", folder, keep_system, tag))
        except BadExample as error:
            skipped.setdefault(str(error), []).append(index)
    if not traces and not skipped.keys() - {OTHER_FORM}:
        raise UserError(f"traces={file}: in no known form; {KNOWN}")
    for why, indices in skipped.items():
        tables.report_skipped(str(file), why, indices)
    if not traces:
        raise UserError(f"traces={file}: none of its rows is usable; see the skipped rows above")
    return traces


def _trace(row: dict[str, Any], name: str, folder: Path, keep_system: bool, tag: str) -> Trace:
    """Raises BadExample with a reason that completes "skipped rows"."""
    messages = _messages(row, folder, tag)
    system = row.get("system")
    if messages and messages[0].role == SYSTEM:
        system = messages.pop(0).text
    _check_order(messages)
    question, turns, answers = messages[0], messages[1::2], messages[2::2]
    *earlier, image = question.images
    example = partial(Example, name, image, question.text.strip(), (), earlier_images=tuple(earlier))
    system = system if keep_system and isinstance(system, str) else None
    picture = picture_name(example())
    return Trace(
        name=name,
        example=example,
        question="\n".join([picture, question.text, system or ""]),
        picture=picture,
        turns=tuple(turn.text for turn in turns),
        observed=tuple(Observed(answer.text.strip(), next(iter(answer.images), None)) for answer in answers),
        system=system,
    )


def _check_order(messages: list[Message]) -> None:
    """Refuse all but a question about a picture, and turns of the policy with one observation between each two."""
    expected = [role for _ in messages for role in ({USER}, {ASSISTANT})]
    for number, (message, roles) in enumerate(zip(messages, expected, strict=False)):
        if message.role not in (roles | {RESULT} if number else roles):
            raise BadExample("whose turns do not alternate, or which do not begin with the user")
    if not messages or messages[-1].role != ASSISTANT:
        raise BadExample("whose last turn is not the assistant's")
    if not messages[0].images:
        raise BadExample("without a picture in the question")
    if not messages[0].text.strip():
        raise BadExample("without a text in the question")
    for message in messages[2::2]:
        if len(message.images) > 1:
            raise BadExample("with several pictures in one observation; one can be shown")
        if not message.images and not message.text.strip():
            raise BadExample("with an empty observation")


def _messages(row: dict[str, Any], folder: Path, tag: str) -> list[Message]:
    turns = next((row[key] for key in LISTS if isinstance(row.get(key), list)), None)
    if turns is None:
        raise BadExample(OTHER_FORM)
    stored: Any = next((row[key] for key in ("images", "image") if row.get(key)), [])
    pictures = [_picture(value, folder) for value in (stored if isinstance(stored, list) else [stored])]
    waiting = iter(pictures)
    messages = [_message(turn, waiting, folder, tag) for turn in turns]
    left = list(waiting)
    if left and len(left) < len(pictures):
        raise BadExample(f"with more pictures than {MARK} marks")
    if left and (question := next((m for m in messages if m.role == USER), None)):  # marked nowhere
        question.images[:0] = left
    return messages


def _message(turn: object, waiting: Iterator[Picture], folder: Path, tag: str) -> Message:
    """waiting: the row's pictures that no mark has taken yet."""
    if not isinstance(turn, dict):
        raise BadExample("with a turn that is not an object")
    name = turn.get("role", turn.get("from"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise BadExample(f"with a turn of the role {name}; known are {', '.join(ROLES)}")
    if turn.get("tool_calls"):
        raise BadExample("with tool_calls; write the call into the content, as the policy is to write it")
    content = turn.get("content", turn.get("value"))
    if role in (ASSISTANT, CALL):
        text = _text(content)
        return Message(ASSISTANT, f"<{tag}>\n{text}\n</{tag}>" if role == CALL else text, [])
    text, images = _content(content, waiting, folder)
    return Message(role, text, images)


def _text(content: object) -> str:
    """Content without pictures."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(map(str, texts)) if len(texts) == len(content) else None
    if not isinstance(content, str) or not is_unicode(content):
        raise BadExample("with a turn whose content is not text")
    return content


def _content(content: object, waiting: Iterator[Picture], folder: Path) -> tuple[str, list[Picture]]:
    """The text of a turn without its marks, and the pictures that it shows, in order."""
    texts: list[str] = []
    images: list[Picture] = []
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image", "image_url"):
            own = next((part[key] for key in ("image", "image_url", "url", "path") if part.get(key)), None)
            own = own.get("url") if kind == "image_url" and isinstance(own, dict) else own
            images.append(_taken(waiting) if own is None else _picture(own, folder))
        else:
            text = _text([part])
            images += [_taken(waiting) for _ in range(text.count(MARK))]
            texts.append(text.replace(MARK, ""))
    return "".join(texts), images


def _taken(waiting: Iterator[Picture]) -> Picture:
    try:
        return next(waiting)
    except StopIteration:
        raise BadExample(f"with more {MARK} marks than pictures") from None


def _picture(value: object, folder: Path) -> Picture:
    """A stored picture, unopened: a path, below ``folder`` unless absolute, or encoded bytes."""
    cell = columns.picture(value)
    if cell["bytes"]:
        return cell["bytes"]
    path = folder / cell["path"].removeprefix("file://")
    if not isfile(path):  # unlike Path.is_file, also for a name that is too long
        raise BadExample("whose picture is not there; it must be beside the file, or in images=<folder>")
    return path
