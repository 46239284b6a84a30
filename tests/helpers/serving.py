"""Requests of chat completions."""

import base64
import io

from PIL import Image


def png(color: str = "red", kind: str = "PNG") -> bytes:
    """A small picture of one color."""
    return encoded(Image.new("RGB", (60, 40), color), kind)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, compress_level=1)
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def message(question: str, *pictures: bytes) -> dict:
    """A user's message."""
    parts = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
