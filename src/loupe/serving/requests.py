"""Reading a request in the form of OpenAI's chat completions. Whatever it asks for and would not get is refused."""

import base64
import binascii
import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from loupe.errors import BadExample, UserError
from loupe.pictures import format_and_size
from loupe.records import Example
from loupe.serving.limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
"""Formats of pictures, as OpenAI documents them. Browsers show them too."""
SEVERAL_JPEGS = "MPO"
"""What Pillow calls a JPEG file with further pictures in it, such as previews, as many cameras write it."""
NEUTRAL = {
    "stream": False,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "store": False,
    "tools": [],
    "logit_bias": {},
    "response_format": {"type": "text"},
}
"""Parameters without an effect here, with the value at which they have none. ``null`` is one for each of them."""
LABELS = ("user", "metadata", "safety_identifier")
"""Parameters that change no answer."""
COLDEST = 1e-6
"""Below this temperature, decoding is greedy."""
SHOWN = 80
"""Characters of a wrong value in a message."""


class Refused(UserError):
    """A request that gets no answer. status: of HTTP. param: the part of the request that is wrong."""

    def __init__(self, message: str, status: int = 400, param: str | None = None):
        super().__init__(message)
        self.status, self.param = status, param


class ImageURL(BaseModel):
    """detail: unused, because the resolution is a setting of the server."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Part(BaseModel):
    type: Literal["text", "image_url"]
    text: str = ""
    image_url: ImageURL | None = None


class Message(BaseModel):
    role: str
    content: list[Part]

    @field_validator("content", mode="before")
    @classmethod
    def _as_parts(cls, content: object) -> object:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Chat(BaseModel):
    """The parameters that are read; others are kept in ``model_extra``."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    n: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: list[str] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list(cls, stop: object) -> object:
        return [stop] if isinstance(stop, str) else stop


@dataclass(frozen=True)
class Asked:
    """A question and how it is to be answered.

    model: one of the names that the server gives to its policy. temperature: 0 means greedy decoding. seed: of sampled
    answers. max_tokens: sampled tokens per turn; None: as many as the server allows. stop: the answer ends before the
    first of these texts.
    """

    model: str
    example: Example
    samples: int = 1
    temperature: float = 0
    seed: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


def read_request(body: bytes, models: Collection[str], limits: Limits) -> Asked:
    """The question in the body of a request. Raises :class:`Refused`, whose message names the part and the fix."""
    try:
        chat = Chat.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error) from error
    if chat.model not in models:
        raise Refused(f"model={_short(chat.model)}: there is {' and '.join(models)}", 404, "model")
    for name, value in (chat.model_extra or {}).items():
        if name not in LABELS and value is not None and (name not in NEUTRAL or value != NEUTRAL[name]):
            raise Refused(f"{_short(name)}={_short(value)}: not supported; leave it out", param=name)
    samples, temperature = chat.n or 1, chat.temperature or 0
    temperature = temperature if temperature >= COLDEST else 0
    if samples > limits.max_samples:
        raise Refused(f"n={samples}: at most {limits.max_samples} (serve.max_samples)", param="n")
    if samples > 1 and not temperature:
        raise Refused(f"n={samples}: greedy answers are all the same; set a temperature above 0", param="n")
    seed = random.getrandbits(32) if chat.seed is None else chat.seed
    most = min((m for m in (chat.max_tokens, chat.max_completion_tokens) if m), default=None)
    stop = tuple(filter(None, chat.stop or ()))
    return Asked(chat.model, _question(chat.messages, limits), samples, temperature, seed, most, stop)


def _question(messages: list[Message], limits: Limits) -> Example:
    """The question of the only message."""
    for i, message in enumerate(messages):
        if message.role in ("system", "developer"):
            fix = "the policy has its own; write instructions into the question"
            raise _wrong(f"[{i}]", f"a {message.role} message is not supported; {fix}")
        if message.role != "user" or i:
            fix = "send the question, with its pictures, as the only message"
            raise _wrong(f"[{i}]", f"earlier turns are not supported; {fix}")
    parts, where = messages[0].content, "[0].content"
    if [kind for kind, _ in groupby(parts, lambda part: part.type)].count("image_url") > 1:
        raise _wrong(where, "text between pictures; put all pictures first")
    urls = {f"{where}[{i}]": part.image_url for i, part in enumerate(parts) if part.type == "image_url"}
    if not urls:
        raise _wrong(where, "no picture; add a part of type image_url")
    if len(urls) > limits.max_pictures:
        raise _wrong(where, f"{len(urls)} pictures; at most {limits.max_pictures} (serve.max_pictures)")
    text = "\n".join(part.text for part in parts if part.type == "text")
    if not text.strip():
        raise _wrong(where, "no question; add a part of type text")
    *earlier, picture = (_picture(place, url, limits) for place, url in urls.items())
    return Example("messages[0]", picture, text, references=(), earlier_images=tuple(earlier))


def _picture(where: str, given: ImageURL | None, limits: Limits) -> bytes:
    """The encoded picture of a data URL, of which only the header is read here."""
    head, comma, data = (given.url if given else "").partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        fix = "send the picture itself as data:image/png;base64,…; the server fetches nothing"
        raise _wrong(where, f"url={_short(head)}: not a data URL; {fix}")
    try:
        picture = base64.b64decode(data, validate=True)
        kind, (width, height) = format_and_size(picture)
    except binascii.Error as error:
        raise _wrong(where, "not valid base64; encode the file again") from error
    except BadExample as error:
        raise _wrong(where, str(error)) from error
    if kind not in (*FORMATS, SEVERAL_JPEGS):
        raise _wrong(where, f"a picture in format {kind}; use one of {', '.join(FORMATS)}")
    if width * height > limits.max_megapixels * 10**6:
        most = f"at most {limits.max_megapixels} million pixels (serve.max_megapixels)"
        raise _wrong(where, f"a picture of {width}x{height} pixels; {most}")
    return picture


def _wrong(where: str, problem: str) -> Refused:
    """The refusal of a part of the messages."""
    return Refused(f"messages{where}: {problem}", param="messages")


def _explained(error: ValidationError) -> Refused:
    """The first mistake, with its place."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    given = f"={_short(first['input'])}" if isinstance(first["input"], str | int | float | None) and where else ""
    return Refused(f"{where or 'body'}{given}: {first['msg']}", param=where.split("[")[0].split(".")[0] or None)


def _short(value: Any) -> str:
    """``value`` for a message of one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
