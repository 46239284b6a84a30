"""Published data sets as rows of :class:`Example`.

Tables stay memory-mapped on disk (the ``datasets`` library), and pictures are opened where they are used, so that
memory does not grow with the data set.
"""

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import datasets
from huggingface_hub import constants
from torch.utils.data import Dataset

from loupe import hub
from loupe.data.datamodule import LoupeDataModule, Questions, subset
from loupe.errors import UserError, is_number, is_unicode, require_int
from loupe.paths import of_setting
from loupe.records import Example

LOG = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
Check = Callable[[Any], bool]
GIVE_PATH = "give data.path=<folder with the published files>"
GIVE_OTHER = f"{GIVE_PATH}, or data.hub=<owner/name>"


@dataclass(eq=False)
class Rows(Dataset[Example]):
    """The rows ``indices`` of a table, each turned into an example by ``read``."""

    table: datasets.Dataset
    read: Callable[[dict], Example]
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.read(self.table[self.indices[index]])


def from_hub(repo: str | None, known: Sequence[str], load: Callable[[str], Loaded], fix: str = GIVE_OTHER) -> Loaded:
    """What ``load`` makes of the first data set that the hub, or its local cache, has: of ``repo``, or of ``known``.

    repo: ``data.hub``. known: the ids under which the data set has been published. Raises UserError if there is none,
    which names the ``fix``.
    """
    if repo is not None and not hub.is_id(repo):
        raise UserError(f"data.hub={repo}: must be <owner/name>, such as {known[0]}")
    hub.prepare()
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE
    failed = []
    for name in [repo] if repo else known:
        try:
            return load(name)
        except (OSError, ValueError) as error:  # ValueError: no such split or configuration in the cache
            failed.append(f"{name}: {_first_line(error)}")
    raise UserError(f"data: cannot be loaded from the hub ({'; '.join(failed)}); {fix}")


def split_from_hub(repo: str | None, known: Sequence[str], split: str) -> datasets.Dataset:
    """A split of a data set on the hub; see :func:`from_hub`."""
    return from_hub(repo, known, partial(_load, split=split))


def from_files(kind: str, files: Sequence[Path], **options: Any) -> datasets.Dataset:
    """Local files as one table. kind: a format of ``datasets``, such as "parquet" or "csv"."""
    try:
        return _load(kind, data_files={"rows": [str(file) for file in files]}, split="rows", **options)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"data.path: cannot read {files[0]} as {kind} ({_first_line(error)}); copy it again") from error


def _load(source: str, **options: Any) -> datasets.Dataset:
    """A table with its pictures left encoded; by default the library decodes each one with its row."""
    datasets.disable_progress_bars()
    table = datasets.load_dataset(source, **options)
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def required_format(name: object, form: str) -> Iterator[None]:
    """Turn what parsing a file of another format raises into a UserError. name: of the file. form: the right format."""
    try:
        yield
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{name}: not in {form} ({error!r}); copy the file again") from error


def usable_rows(
    table: datasets.Dataset,
    name: str,
    columns: Sequence[str] = (),
    key: Sequence[str] = (),
    **checks: Check,
) -> list[int]:
    """The numbers of the rows whose columns pass their checks; the others are named in the log.

    Reads the checked columns only. name: of the table, for messages. key: columns whose values together identify a row;
    of several rows with the same, the first is kept. Raises UserError if one of ``columns`` is missing, or if no row is
    usable.
    """
    if missing := [column for column in columns if column not in table.column_names]:
        found = ", ".join(table.column_names)
        raise UserError(f"{name}: no column {', '.join(missing)}, only {found}; {GIVE_PATH}")
    plain, good = table.with_format(None), set(range(len(table)))
    for column, check in checks.items():
        bad = [i for i, value in enumerate(plain[column]) if not check(value)]
        report_skipped(name, f"without a usable {column}", bad)
        good.difference_update(bad)
    if key:
        keys = list(zip(*(map(repr, plain[column]) for column in key), strict=True))  # values may be of any type
        first = dict(reversed([(keys[i], i) for i in sorted(good)]))
        repeated = [i for i in sorted(good) if first[keys[i]] != i]
        report_skipped(name, f"that repeat the {' and '.join(key)} of an earlier one", repeated)
        good.difference_update(repeated)
    if not good:
        raise UserError(f"{name}: none of its {len(table)} rows is usable; see the skipped rows above")
    return sorted(good)


def report_skipped(name: str, why: str, rows: Sequence[int]) -> None:
    """Name the rows of a table that are left out, if there are any, counting from 1, without a header.

    why: completes "skipped rows". rows: their indices.
    """
    if rows:
        numbers = ", ".join(str(index + 1) for index in rows[:5])
        more = f" .. ({len(rows)} in all)" if len(rows) > 5 else ""
        LOG.warning("%s: skipped rows %s: %s%s", name, why, numbers, more)


def is_given(value: object) -> bool:
    return value is not None


def is_text(value: object) -> TypeGuard[str]:
    """Whether ``value`` is a text that a table can hold, that is one without lone surrogates."""
    return isinstance(value, str) and is_unicode(value)


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Whether ``value`` is a list of at least one text. A text itself is none, although it is a sequence."""
    return isinstance(value, list) and bool(value) and all(map(is_text, value))


def has_text(value: object) -> TypeGuard[str]:
    """Whether ``value`` is a text with anything but white space."""
    return is_text(value) and bool(value.strip())


def is_four_numbers(numbers: object) -> TypeGuard[Sequence[float]]:
    return isinstance(numbers, list | tuple) and len(numbers) == 4 and all(map(is_number, numbers))


def take(rows: Questions, n: int | None, name: str) -> Questions:
    """The first ``n`` rows, or all if ``n`` is None. name: the setting that gives ``n``."""
    return rows if n is None else subset(rows, range(min(len(rows), require_int(name, n, 1))))


def evaluation_only(rows: Questions, n_test: int | None, **settings: Any) -> LoupeDataModule:
    """The first ``n_test`` rows (None: all) for evaluation only. settings: see :class:`LoupeDataModule`."""
    return LoupeDataModule(None, None, take(rows, n_test, "data.n_test"), **{"batch_size": 1} | settings)


def require_folder(path: str | Path) -> Path:
    """``path`` if it is a folder, else a :class:`UserError`."""
    folder = of_setting(path)
    if not folder.is_dir():
        raise UserError(f"data.path={path}: no such folder; {GIVE_PATH}")
    return folder


def stored_picture(cell: object) -> Path | bytes:
    """The unopened picture in a cell: a path or encoded bytes, decoded from base64 if need be; empty bytes for none."""
    if isinstance(cell, dict):
        return cell.get("bytes") or (Path(cell["path"]) if cell.get("path") else b"")
    if isinstance(cell, str):
        try:
            return base64.b64decode(cell, validate=True)
        except ValueError:  # binascii.Error is one
            return b""  # opening it raises BadExample
    return cell if isinstance(cell, bytes) else b""


def find_files(path: str | Path, *patterns: str) -> list[Path]:
    """The files in the folder ``path`` that match the first pattern with any match, sorted by name."""
    for pattern in patterns:
        if files := sorted(require_folder(path).rglob(pattern)):
            return files
    raise UserError(f"data.path={path}: no file {' or '.join(patterns)} there; copy the published files")
