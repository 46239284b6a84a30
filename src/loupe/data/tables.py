"""Published data sets as rows of :class:`Example`.

Tables stay memory-mapped on disk (the ``datasets`` library), and pictures are opened where they are used, so that
memory does not grow with the data set.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants
from torch.utils.data import Dataset

from loupe import hub
from loupe.data.datamodule import Questions, subset
from loupe.errors import UserError, require_int
from loupe.records import Example

LOG = logging.getLogger(__name__)


class Rows(Dataset[Example]):
    """The rows ``indices`` of a table (None: all rows), each turned into an example by ``read``."""

    def __init__(
        self, table: datasets.Dataset, read: Callable[[dict], Example], indices: Sequence[int] | None = None
    ) -> None:
        self.table = table
        self.read = read
        self.indices: Sequence[int] = range(len(table)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.read(self.table[self.indices[index]])


def from_hub(repo: str, split: str, **options: Any) -> datasets.Dataset:
    """A split of a data set on the hub, or of its cached copy. Raises UserError if there is neither."""
    hub.prepare()
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE
    try:
        with _quiet():
            table = datasets.load_dataset(repo, split=split, **options)
    except (OSError, ValueError) as error:  # ValueError: no such split or configuration in the cache
        raise UserError(
            f"data: cannot load {repo} (split {split}) from the hub ({_first_line(error)}); "
            "give data.path=<folder with the published files>"
        ) from error
    return _undecoded(table)


def from_files(kind: str, files: Sequence[Path], **options: Any) -> datasets.Dataset:
    """Local files as one table. kind: a format of ``datasets``, such as "parquet" or "csv"."""
    try:
        with _quiet():
            names = [str(file) for file in files]
            table = datasets.load_dataset(kind, data_files={"rows": names}, split="rows", **options)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"data.path: cannot read {files[0]} as {kind} ({_first_line(error)}); copy it again") from error
    return _undecoded(table)


def from_records(records: list[dict]) -> datasets.Dataset:
    """Records as a table; they name pictures by their path."""
    return datasets.Dataset.from_list(records)


def require_columns(table: datasets.Dataset, name: str, columns: Sequence[str]) -> None:
    """Raise UserError for a table that lacks one of ``columns``. name: of the table, for the message."""
    if missing := [column for column in columns if column not in table.column_names]:
        raise UserError(
            f"{name}: no column {', '.join(missing)}, only {', '.join(table.column_names)}; "
            "give data.path=<folder with the published files>"
        )


def usable_rows(table: datasets.Dataset, name: str, **checks: Callable[[Any], bool]) -> list[int]:
    """The numbers of the rows whose columns pass their checks; the others are named in the log.

    Reads the checked columns only. Raises UserError if no row is usable.
    """
    good: Sequence[int] = range(len(table))
    for column, check in checks.items():
        values = table.with_format(None)[column]
        bad = [i for i, value in enumerate(values) if not check(value)]
        if bad:
            rows = ", ".join(map(str, bad[:5])) + (f" .. ({len(bad)} in all)" if len(bad) > 5 else "")
            LOG.warning("%s: skipped rows without a usable %s: %s", name, column, rows)
        dropped = set(bad)
        good = [i for i in good if i not in dropped]
    if not good:
        raise UserError(f"{name}: none of its {len(table)} rows is usable; see the skipped rows above")
    return list(good)


def take(rows: Questions, n: int | None, name: str = "data.n_test") -> Questions:
    """The first ``n`` rows, or all if ``n`` is None. name: the setting that gives ``n``."""
    return rows if n is None else subset(rows, range(min(len(rows), require_int(name, n, 1))))


def require_folder(path: str | Path) -> Path:
    """``path`` if it is a folder, else a :class:`UserError`."""
    if not Path(path).is_dir():
        raise UserError(f"data.path={path}: no such folder; give data.path=<folder with the published files>")
    return Path(path)


def stored_picture(cell: dict | str | bytes | None) -> Path | bytes:
    """The unopened picture in a cell: a path or encoded bytes, decoded from base64 if need be; empty bytes for none."""
    if isinstance(cell, dict):
        return cell.get("bytes") or (Path(cell["path"]) if cell.get("path") else b"")
    if isinstance(cell, str):
        try:
            return base64.b64decode(cell, validate=True)
        except binascii.Error:
            return b""  # opening it raises BadExample
    return cell or b""


def find_files(path: str | Path, *patterns: str) -> list[Path]:
    """The files in the folder ``path`` that match the first pattern with any match, sorted by name."""
    for pattern in patterns:
        if files := sorted(require_folder(path).rglob(pattern)):
            return files
    raise UserError(f"data.path={path}: no file {' or '.join(patterns)} there; copy the published files")


def _undecoded(table: datasets.Dataset) -> datasets.Dataset:
    """The table with pictures left encoded; by default the library decodes each one with its row."""
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table


@contextmanager
def _quiet() -> Iterator[None]:
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
