import io
import json
import struct
import zlib

import pytest

pytest.importorskip("fastapi", reason="pip install -e '.[serve]'")

from helpers.serving import data_url, message, png
from PIL import Image

from loupe.serving.limits import Limits
from loupe.serving.requests import Refused, read_request

LIMITS = Limits(max_pictures=2, max_megapixels=1, max_megabytes=1, max_samples=4, max_waiting=2)
MODELS = ("policy", "policy-no-tool")
PICTURE = {"type": "image_url", "image_url": {"url": data_url(png())}}
TEXT = {"type": "text", "text": "What?"}


def read(messages=None, **settings):
    chat = {"model": "policy", "messages": messages or [message("What?", png())], **settings}
    return read_request(json.dumps(chat).encode(), MODELS, LIMITS)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_question_is_greedy_unless_a_temperature_is_given():
    asked = read()
    assert (asked.model, asked.samples, asked.temperature, asked.max_tokens) == ("policy", 1, 0, None)
    assert (asked.example.question, asked.example.image, asked.example.earlier_images) == ("What?", png(), ())


def test_samples_with_a_seed():
    asked = read(n=3, temperature=0.5, seed=7, max_tokens=20, max_completion_tokens=10, model="policy-no-tool")
    assert (asked.samples, asked.temperature, asked.seed, asked.max_tokens) == (3, 0.5, 7, 10)
    assert read(temperature=1).seed != read(temperature=1).seed


def test_the_last_picture_is_asked_about_and_texts_are_joined():
    other = {"type": "image_url", "image_url": {"url": data_url(png("blue")), "detail": "high"}}
    example = read([{"role": "user", "content": [TEXT, other, PICTURE, {"type": "text", "text": "And why?"}]}]).example
    assert (example.question, example.earlier_images, example.image) == ("What?\nAnd why?", (png("blue"),), png())


def test_texts_that_end_an_answer():
    assert read(stop="a").stop == read(stop=["a", ""]).stop == ("a",)


def test_a_file_with_several_jpegs_is_a_picture():
    """As cameras write it, with a preview."""
    Image.new("RGB", (40, 30)).save(
        file := io.BytesIO(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))]
    )
    assert read([message("What?", file.getvalue())]).example.image == file.getvalue()


def test_what_has_no_effect_may_be_given():
    assert read(stream=False, top_p=1.0, logprobs=None, user="me", metadata={"a": "b"}, stop=None).samples == 1
    assert read(temperature=1e-7).temperature == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "gpt"}, "model=gpt: there is policy and policy-no-tool"),
        ({"stream": True}, "stream=True: not supported; leave it out"),
        ({"top_p": 0.5}, "top_p=0.5: not supported"),
        ({"tools": [{}]}, "tools=.*: not supported"),
        ({"whatever": 1}, "whatever=1: not supported"),
        ({"n": 2}, "n=2: greedy answers are all the same; set a temperature above 0"),
        ({"n": 5, "temperature": 1}, r"n=5: at most 4 \(serve.max_samples\)"),
        ({"n": 0}, "n=0: Input should be greater than or equal to 1"),
        ({"n": True}, "n=True: Input should be a valid integer"),
        ({"temperature": -1}, "temperature=-1: Input should be greater"),
        ({"temperature": float("nan")}, "temperature=nan: Input should be"),
        ({"seed": "x" * 999}, "seed=x{80}…: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens=0: Input should be greater"),
        ({"stop": [1]}, r"stop\[0\]=1: Input should be a valid string"),
    ],
)
def test_parameters_that_are_refused(settings, message):
    with pytest.raises(Refused, match=message) as refusal:
        read(**settings)
    assert refusal.value.param == next(iter(settings))
    assert refusal.value.status == (404 if "model" in settings else 400)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("What?", "no picture; add a part of type image_url"),
        ([PICTURE], "no question; add a part of type text"),
        ([PICTURE, TEXT, PICTURE], "text between pictures; put all pictures first"),
        ([PICTURE, PICTURE, PICTURE, TEXT], r"3 pictures; at most 2 \(serve.max_pictures\)"),
        ([{"type": "input_audio"}], r"content\[0\].type=input_audio: Input should be 'text' or 'image_url'"),
        ([TEXT, {"type": "image_url"}], r"content\[1\]: url=: not a data URL"),
        (None, "content=None: Input should be a valid array"),
    ],
)
def test_contents_that_are_refused(content, message):
    with pytest.raises(Refused, match=message):
        read([{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.org/a.png", "https://example.org/a.png: not a data URL; send the picture itself"),
        ("file:///etc/passwd", "file:///etc/passwd: not a data URL"),
        ("data:image/png;base64,a*b", "not valid base64"),
        (data_url(b"no picture"), "corrupt, truncated or not a picture"),
        (data_url(png(kind="TIFF")), "in format TIFF; use one of PNG, JPEG"),
        (data_url(bomb(1001)), r"1001x1001 pixels; at most 1 million pixels \(serve.max_megapixels\)"),
        (data_url(bomb(50_000)), "50000x50000 pixels; use a picture of 1 to 200 million"),
    ],
)
def test_pictures_that_are_refused(url, message):
    with pytest.raises(Refused, match=rf"^messages\[0\].content\[1\]: .*{message}") as refusal:
        read([{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": url}}]}])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "system", "content": "Be brief."}], r"messages\[0\]: a system message is not supported"),
        ([message("What?", png()), {"role": "assistant", "content": "4"}], r"messages\[1\]: earlier turns"),
        ([message("What?", png()), message("And?", png())], r"messages\[1\]: earlier turns are not supported"),
    ],
)
def test_conversations_that_are_refused(messages, message):
    with pytest.raises(Refused, match=message):
        read(messages)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"model": "\\udcff"}'])
def test_what_is_not_a_request(body):
    with pytest.raises(Refused) as refusal:
        read_request(body, MODELS, LIMITS)
    assert len(str(refusal.value).splitlines()) == 1
