"""Tables of one's own: which files there are, which split each holds, and their rows, one at a time."""

import csv
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import datasets
from pyarrow import parquet

from loupe.data.tables import required_format
from loupe.errors import UserError

LOG = logging.getLogger(__name__)
SPLITS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}
"""What a split may be called, in a file's name or in a column."""
IN_A_NAME = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)
OTHER_FILES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""What the ``datasets`` library writes beside its tables."""
DELIMITERS = ",;\t"
BATCH = 16
"""Rows of a parquet file that are in memory at a time; they may hold pictures."""

Row = dict[str, Any] | str
"""The cells of a row by column, or what is wrong with it."""


def find_tables(path: Path) -> dict[str | None, list[Path]]:
    """The tables that ``path`` is or holds, by split; None for a table whose name tells no split.

    The split is the word for it in the name of the file, or else of the nearest folder below ``path``. Files of one
    split are read as one table. Raises UserError if there is no table, or if it is not clear which to take.
    """
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise UserError(f"data.path={path}: cannot be read; give a file that ends in {', '.join(READERS)}")
        return {None: [path]}
    found: dict[str | None, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        within = file.relative_to(path)
        hidden = any(part.startswith(".") for part in within.parts)
        if file.suffix.lower() in READERS and file.name not in OTHER_FILES and not hidden and file.is_file():
            found.setdefault(_split_of(within), []).append(file)
    if not found:
        raise UserError(f"data.path={path}: no table there; it must hold a file that ends in {', '.join(READERS)}")
    if len(found) > 1 and (others := found.pop(None, [])):
        LOG.warning("data.path=%s: not read, because the names tell no split: %s", path, _names(others))
    for split, files in found.items():
        kinds = {file.suffix.lower() for file in files}
        if len(kinds) > 1 or (split is None and len(files) > 1 and kinds != {".parquet"}):
            what = f"several tables of {split}" if split else "several tables"
            raise UserError(f"data.path={path}: {what} there ({_names(files)}); give data.path=<one of them>")
    return found


def split_name(text: str) -> str | None:
    """The split that a cell names: train, val or test; None for another word."""
    return SPLITS.get(text.strip().lower())


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a table in any of its formats, in order. Raises UserError for a file that cannot be read."""
    return READERS[file.suffix.lower()](file)


def _split_of(within: Path) -> str | None:
    for name in (within.stem, *reversed(within.parts[:-1])):
        if found := IN_A_NAME.search(name):
            return SPLITS[found[1].lower()]
    return None


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")


def _encoding(file: Path) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one, as spreadsheets write "Unicode text"."""
    with file.open("rb") as start:
        return "utf-16" if start.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _from_text(read: Callable[[Path], Iterator[Row]]) -> Callable[[Path], Iterator[Row]]:
    def checked(file: Path) -> Iterator[Row]:
        try:
            yield from read(file)
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not in UTF-8 ({error.reason}); save it again as UTF-8") from error

    return checked


@_from_text
def _separated(file: Path) -> Iterator[Row]:
    """csv and tsv. Empty cells are None; a quote that is never closed breaks its row."""
    csv.field_size_limit(sys.maxsize)  # a cell may hold a picture
    with file.open(newline="", encoding=_encoding(file)) as lines:
        first = lines.readline()
        lines.seek(0)
        delimiter = "\t" if file.suffix.lower() == ".tsv" else max(DELIMITERS, key=first.count)
        records = _records(lines, delimiter)
        if (header := next(records, [])) is None:
            raise UserError(f"{file}: the header has a quote that is never closed, or stands within a name; remove it")
        header = [name.strip() for name in header]
        for cells in records:
            if cells is None:
                yield "with a quote that is never closed, or stands within a cell; double it"
            elif len(cells) == len(header):
                yield {name: cell or None for name, cell in zip(header, cells, strict=True)}
            elif cells:  # not an empty line
                yield "with more or fewer cells than the header; quote cells that hold the separator"


def _records(lines: TextIO, delimiter: str) -> Iterator[list[str] | None]:
    """The cells of each record; None for one with a quote that is out of place.

    Such a quote takes the lines after it for a part of its cell, so a record of several lines that has one, or not as
    many cells as the first, breaks its first line only, and reading goes on with the second.
    """
    taken: list[str] = []
    again: list[str] = []  # the next one last

    def source() -> Iterator[str]:
        while line := again.pop() if again else lines.readline():
            taken.append(line)
            yield line

    def reader() -> Iterator[list[str]]:
        return csv.reader(source(), delimiter=delimiter, strict=True)

    rows, width = reader(), None
    while True:
        taken.clear()
        cells: list[str] | None
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        width = width or len(cells or ())
        if len(taken) > 1 and (cells is None or len(cells) != width):
            again += reversed(taken[1:])
            rows = reader()  # a reader that has met the end of the file is done
        yield cells


@_from_text
def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding=_encoding(file)) as lines:
        for line in lines:
            if line.strip():
                yield _json_row(line)


def _json_row(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "that are not JSON"
    return row if isinstance(row, dict) else "that are not JSON objects"


@_from_text
def _json(file: Path) -> Iterator[Row]:
    """A list of objects, possibly under a key such as "data", or one object a line."""
    with required_format(file, "JSON"):
        try:
            content = json.loads(file.read_text(encoding=_encoding(file)))
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            content = list(_json_lines(file))
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and isinstance((value or [0])[0], dict)]
        if len(lists) != 1:
            raise UserError(f"{file}: holds no list of rows; give a list of objects, one for each question")
        content = lists[0]
    for row in content if isinstance(content, list) else [content]:
        yield row if isinstance(row, dict | str) else "that are not JSON objects"


def _parquet(file: Path) -> Iterator[Row]:
    """The classes of a ``datasets.ClassLabel`` are given by name."""
    with required_format(file, "parquet's format"):
        try:
            table = parquet.ParquetFile(file)
            features = datasets.Features.from_arrow_schema(table.schema_arrow)
            classes = {name: kind for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)}
            for batch in table.iter_batches(BATCH):
                for row in batch.to_pylist():
                    yield row | {name: _class(kind, row[name]) for name, kind in classes.items()}
        except OSError as error:
            raise UserError(f"{file}: cannot be read as parquet ({error}); copy it again") from error


def _class(label: datasets.ClassLabel, value: int | None) -> str | None:
    return None if value is None or value < 0 else label.int2str(value)


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}
