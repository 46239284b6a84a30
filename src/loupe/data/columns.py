"""Which columns of a table of one's own hold what, and what their cells say.

Cells come from any format: a list may be a list, or its text in a cell of a csv. What cannot be used raises BadExample
with a reason that completes "skipped rows".
"""

import ast
import base64
import binascii
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from loupe.data.tables import has_text, is_four_numbers
from loupe.errors import BadExample, UserError, is_number
from loupe.geometry import Box, area
from loupe.pictures import UNREADABLE
from loupe.rewards.choice import LETTERS, with_options

USUAL = {
    "image": ("image", "images", "image_path", "image_file", "file_name", "filename", "img", "img_path", "picture"),
    "question": ("question", "prompt", "query", "problem", "instruction"),
    "answers": ("answers", "answer", "references", "reference", "label", "labels", "ground_truth", "solution"),
    "options": ("options", "choices"),
    "boxes": ("boxes", "box", "bboxes", "bbox"),
    "subset": ("subset",),
    "id": ("id", "question_id", "qid"),
    "split": ("split",),
}
"""The names that each column goes by, the first of which counts; case does not matter."""
WEB = re.compile(r"(?:https?|s3|gs)://", re.IGNORECASE)
DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
IMAGE_MARK = "<image>"
BARE_LETTER = re.compile(r"\W*([A-Za-z])\W*")
ROUNDING = 0.01
"""By how much a relative box may exceed its picture."""

Names = dict[str, str | list[str]]


def find_columns(names: Sequence[str], given: Mapping[str, str | list[str]], table: object) -> Names:
    """The column of ``table`` for each kind in ``USUAL``, as far as there is one.

    names: of the columns. given: ``data.columns``, whose names take precedence; a dot leads into a nested value, and
    ``options`` may be a list of columns. Without a column for them, A, B and so on are the options. Raises UserError
    for a name that the table does not have.
    """
    has = f"{table} has {', '.join(names) or 'no columns'}"
    for kind, column in given.items():
        if kind not in USUAL:
            raise UserError(f"data.columns: no kind of column is called {kind}; there are {', '.join(USUAL)}")
        for name in column if isinstance(column, list) and kind == "options" else [column]:
            if str(name) not in names and str(name).partition(".")[0] not in names:
                raise UserError(f"data.columns: {kind}={name}: no such column; {has}")
    lower = {name.lower(): name for name in reversed(names)}
    found: Names = {kind: lower[name] for kind, usual in USUAL.items() for name in reversed(usual) if name in lower}
    lettered = [letter for number, letter in enumerate(LETTERS) if set(LETTERS[: number + 1]) <= set(names)]
    return ({"options": lettered} if len(lettered) > 1 else {}) | found | dict(given)


def cell(row: Mapping[str, Any], column: str | list[str] | None) -> Any:
    """The value of a column, or the list of those of several; None where there is none."""
    if isinstance(column, list):
        return [cell(row, name) for name in column]
    if column is None or column in row:
        return row[column] if column else None
    value: Any = row
    for part in column.split("."):
        if isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, list):
            value = [item.get(part) for item in value if isinstance(item, dict)]
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def picture(value: Any) -> dict[str, Any]:
    """{"bytes": an encoded picture, "path": None}, or {"bytes": None, "path": as written}."""
    if isinstance(value, list):
        if len(value) != 1:
            raise BadExample(f"with {'several pictures' if value else 'no picture'}; each needs one")
        value = value[0]
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return {"bytes": value, "path": None}
    if not has_text(value):
        raise BadExample("without a picture")
    if WEB.match(value):
        raise BadExample("whose picture is a web address; download the pictures and give their paths")
    if found := DATA_URL.match(value):
        if (data := _decoded(value[found.end() :])) is None:
            raise BadExample("whose picture is not valid base64")
        return {"bytes": data, "path": None}
    data = None if "." in value else _decoded(value)
    if data is not None and _is_picture(data):
        return {"bytes": data, "path": None}
    return {"bytes": None, "path": value.strip().replace("\\", "/")}


def text(value: Any) -> str | None:
    """A text, a number or a truth value as text; None for anything else, and for white space."""
    if isinstance(value, bool):
        return str(value).lower()
    if is_number(value):
        return str(int(value)) if value == int(value) else str(value)
    return value.strip() if has_text(value) else None


def texts(value: Any) -> list[str]:
    """One text or several. Of an object, such as one of VQAv2's answers, its "answer"."""
    value = _parsed(value)
    items = [item.get("answer") if isinstance(item, dict) else item for item in _as_list(value)]
    return [found for item in items if (found := text(item)) is not None]


def options(value: Any) -> list[str]:
    """The texts of the options, A first: of a list, or of an object with the keys A, B and so on."""
    value = _parsed(value)
    if isinstance(value, dict):
        if value.keys() != set(LETTERS[: len(value)]):
            raise BadExample("whose options are not called A, B and so on")
        value = [value[letter] for letter in sorted(value)]
    found = [text(item) for item in _as_list(value)]
    while found and found[-1] is None:
        found.pop()
    if None in found or len(found) > len(LETTERS):
        raise BadExample("with an empty option before others" if None in found else "with too many options")
    return [option for option in found if option is not None]


def ask(question: str, choices: Sequence[str]) -> str:
    """The question with its options, unless it lists them by letter already, and without a mark for the picture."""
    question = question.replace(IMAGE_MARK, "").strip()
    lettered = (rf"\b{name}[).:]\s*{re.escape(choice)}" for name, choice in zip(LETTERS, choices, strict=False))
    return question if all(re.search(part, question) for part in lettered) else with_options(question, choices)


def letter(answers: Sequence[str], choices: Sequence[str]) -> str:
    """The letter of the correct option, which the answer gives by its letter or its text."""
    if len(set(answers)) == 1:
        if answers[0] in choices:
            return LETTERS[choices.index(answers[0])]
        found = BARE_LETTER.fullmatch(answers[0])
        if found and LETTERS.index(found[1].upper()) < len(choices):
            return found[1].upper()
    raise BadExample("whose answer is neither the letter nor the text of one of its options")


def boxes(value: Any, form: str, unit: str) -> list[Box]:
    """The boxes in a cell, x1, y1, x2, y2 each, in their unit. form: xyxy or xywh. unit: pixels or relative."""
    value = _parsed(value)
    if value is None or value == []:
        return []
    return [_box(one, form, unit) for one in ([value] if is_four_numbers(value) else _as_list(value))]


def is_box(value: Any) -> bool:
    """Whether a cell holds four numbers, or the text of such a list."""
    value = _parsed(value)
    return is_four_numbers(value) or (isinstance(value, list) and len(value) == 1 and is_four_numbers(value[0]))


def _box(value: Any, form: str, unit: str) -> Box:
    if not is_four_numbers(value):
        raise BadExample("with a box that is not four numbers, such as [8, 20, 31, 45]")
    x1, y1, x2, y2 = map(float, value)
    box = (x1, y1, x1 + x2, y1 + y2) if form == "xywh" else (x1, y1, x2, y2)
    if not area(box):
        raise BadExample(f"with a box without width or height as {form}; see data.box_format")
    if (max(box) <= 1 + ROUNDING) != (unit == "relative"):
        raise BadExample(f"with a box that is not in {unit} units; see data.box_unit")
    return box


def _parsed(value: Any) -> Any:
    """``value``; if it is the text of a list or an object, in JSON or as Python prints it, that list or object.

    What else Python would read stays text, such as a set.
    """
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(value.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # TypeError: {{1}} is not hashable
            continue
        return parsed if isinstance(parsed, list | dict) else value
    return value


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_picture(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).close()
        return True
    except UNREADABLE:
        return False
