"""Dividing questions among splits by picture, so that no picture occurs on both sides."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path

from loupe.errors import UserError, require_choice, require_int, require_number


def shuffled(items: Iterable, seed: int) -> list:
    """``items`` in an order that depends on the seed and on each item alone."""
    return sorted(items, key=lambda item: sha256(f"{seed}/{item}".encode()).digest())


def divide(
    rows: Sequence[int], pictures: Mapping[int, str] | Sequence[str], wanted: Mapping[str, int], seed: int
) -> dict[str, list[int]]:
    """All rows about randomly chosen pictures for each split in turn, until they are as many as ``wanted`` or more.

    rows: row numbers. pictures: the picture's name for each of these rows. seed: keys the choice of pictures. What is
    left over is "train".
    """
    about = Counter(pictures[i] for i in rows)
    order, place = iter(shuffled(about, seed)), dict.fromkeys(about, "train")
    for split, n in wanted.items():
        held = 0
        while held < n and (name := next(order, None)) is not None:
            place[name], held = split, held + about[name]
    parts: dict[str, list[int]] = {split: [] for split in ("train", *wanted)}
    for i in rows:
        parts[place[pictures[i]]].append(i)
    return parts


def some(rows: Sequence[int], n: int | None, name: str, seed: int) -> list[int]:
    """``n`` random ones of ``rows`` in their order, or all if ``n`` is None. name: the setting that gives ``n``."""
    return list(rows) if n is None else sorted(shuffled(rows, seed)[: require_int(name, n, 1)])


def same_files(files: Sequence[Path]) -> list[Path]:
    """For each file, the first one of the same content.

    Only files of the same size are read. A file that does not exist stands for itself.
    """
    of_size: dict[int, set[Path]] = defaultdict(set)
    for file in files:
        if os.path.isfile(file):
            of_size[os.path.getsize(file)].add(file)
    first: dict[Path, Path] = {}
    for alike in of_size.values():
        by_content: dict[bytes, Path] = {}
        for file in sorted(alike) if len(alike) > 1 else ():
            with file.open("rb") as content:
                first[file] = by_content.setdefault(file_digest(content, "sha256").digest(), file)
    return [first.get(file, file) for file in files]


def require_shares(shares: Mapping[str, float] | None) -> dict[str, float]:
    """``data.split``: shares of val and test, together at most 1, those of 0 left out. Raises UserError for others."""
    if not isinstance(shares, Mapping | None):
        raise UserError(
            f"data.split={shares}: must be shares of the questions by split, such as {{val: 0.1, test: 0.1}}"
        )
    for split, share in (shares or {}).items():
        require_choice("data.split", split, ("val", "test"))
        require_number(f"data.split.{split}", share, 0, 1)
    if sum((shares or {}).values()) > 1:
        raise UserError(f"data.split={shares}: more than all questions; the shares must be at most 1 together")
    return {split: share for split, share in (shares or {}).items() if share}
