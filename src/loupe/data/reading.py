"""Tables of one's own in one form: whatever the format and the names of the columns, the same rows.

The form is an arrow file in the cache of the ``datasets`` library, memory-mapped, that is written once for given files
and settings. A row that cannot be used says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import datasets

from loupe.data import columns, files, tables
from loupe.data.columns import Names, cell
from loupe.errors import BadExample, UserError, require_choice
from loupe.rewards import choice, matching
from loupe.rewards.matching import last_number
from loupe.rewards.terms import SCORES

SHAPED_BY = (columns, files, tables, choice, matching)
"""The modules that decide, besides this one, what the rows are and say. When they change, tables are read again."""
METRICS = (*SCORES, "choice", "iou")
TEXT = datasets.Value("string")
BOX = datasets.List(datasets.Value("float64"))
FEATURES = datasets.Features(
    {
        **{"file": TEXT, "row": datasets.Value("int64"), "problem": TEXT, "split": TEXT, "id": TEXT, "question": TEXT},
        **{"image": {"bytes": datasets.Value("binary"), "path": TEXT}, "digest": TEXT, "subset": TEXT},
        **{"references": datasets.List(TEXT), "options": datasets.List(TEXT)},
        **{"boxes": datasets.List(BOX), "is_box": datasets.Value("bool")},
    }
)
"""file, row: where the row stands; rows count from 1, without the header. problem: why it cannot be used, or None.
digest: of a picture that is stored in the table. is_box: whether the answer is the first of ``boxes``."""
PEEK = 100
"""Rows that are read to learn which columns a table has."""
WRITTEN = 100
"""Rows that are written at a time, and held in memory; they may hold pictures."""


@dataclass(frozen=True)
class Reading:
    """How to read a table: the settings ``data.columns``, ``metric``, ``box_format``, ``box_unit`` and ``images``."""

    columns: Mapping[str, str | list[str]]
    metric: str | None
    box_format: str
    box_unit: str
    images: Path | None

    def __post_init__(self) -> None:
        if self.metric is not None:
            require_choice("data.metric", self.metric, METRICS)
        require_choice("data.box_format", self.box_format, ("xyxy", "xywh"))
        require_choice("data.box_unit", self.box_unit, ("pixels", "relative"))
        if self.images is not None and not self.images.is_dir():
            raise UserError(
                f"data.images={self.images}: no such folder; give the one that the pictures' paths start in"
            )

    def names(self, file: Path) -> Names:
        """The columns of a table. Raises UserError if it lacks one that is needed, or has no rows."""
        peeked = list(islice(files.read_rows(file), PEEK))
        if not (rows := [row for row in peeked if isinstance(row, dict)]):
            found = (
                f"none of its first rows is usable (the first is one of those {peeked[0]})" if peeked else "has no rows"
            )
            raise UserError(f"{file}: {found}; give a table with a header and a row for each question")
        has = list(dict.fromkeys(name for row in rows for name in row))
        names = columns.find_columns(has, self.columns, file)
        answers = "boxes" if self.metric == "iou" and "boxes" in names else "answers"
        if missing := [kind for kind in ("image", "question", answers) if kind not in names]:
            fix = ", ".join(f"{kind}: <column>" for kind in missing)
            found = ", ".join(has)
            raise UserError(f"{file}: no column for {', '.join(missing)}, only {found}; set data.columns='{{{fix}}}'")
        return names

    def record(self, row: Mapping[str, Any], names: Names, file: Path, split: str | None) -> dict[str, Any]:
        """The columns of ``FEATURES`` that a row fills. split: of the whole table. Raises BadExample."""
        question = columns.text(cell(row, names["question"]))
        if question is None:
            raise BadExample("without a question")
        if split is None and "split" in names:
            named = columns.text(cell(row, names["split"])) or ""
            if (split := files.split_name(named)) is None:
                raise BadExample(f"whose split is neither train nor val nor test ({named[:20]!r})")
        image = columns.picture(cell(row, names["image"]))
        if image["path"]:
            image["path"] = str((self.images or file.parent) / image["path"])
        answer = self._answer(row, names)
        return answer | {
            "split": split,
            "id": columns.text(cell(row, names.get("id"))),
            "question": columns.ask(question, answer.get("options", ())),
            "image": image,
            "digest": sha256(image["bytes"]).hexdigest() if image["bytes"] else None,
            "subset": columns.text(cell(row, names.get("subset"))),
        }

    def _answer(self, row: Mapping[str, Any], names: Names) -> dict[str, Any]:
        """The reference answers, the options, and the boxes of the objects in question, or the answer."""
        raw, metric = cell(row, names.get("answers")), self.metric
        read_boxes = partial(columns.boxes, form=self.box_format, unit=self.box_unit)
        boxes = read_boxes(cell(row, names.get("boxes")))
        choices = columns.options(cell(row, names.get("options"))) if metric in (None, "choice") else []
        if len(choices) == 1 or (metric == "choice" and not choices):
            raise BadExample('with fewer than two options; a cell holds a list, such as ["red", "blue"]')
        if choices:
            return {"references": [columns.letter(columns.texts(raw), choices)], "options": choices, "boxes": boxes}
        if metric == "iou" or (metric is None and columns.is_box(raw)):
            found = boxes if boxes and not columns.is_box(raw) else read_boxes(raw)  # raw may be a name
            if len(found) != 1:
                raise BadExample("whose answer is not one box")
            return {"is_box": True, "boxes": found}
        references = columns.texts(raw)
        if not references:
            raise BadExample("without an answer")
        if metric == "number" and not any(map(last_number, references)):
            raise BadExample("whose answer has no number, for data.metric=number")
        return {"references": references, "boxes": boxes}


def one_table(found: Mapping[str | None, Sequence[Path]], reading: Reading) -> datasets.Dataset:
    """All rows of these tables, which are given by split, as one table of ``FEATURES``.

    Paths, also that of ``reading.images``, must be absolute, because the result is kept.
    """
    parts = [(split, file, reading.names(file)) for split, group in found.items() for file in group]
    stamps = [(str(split), str(file), names, *_stamp(file)) for split, file, names in parts]
    code = [Path(str(module.__file__)).read_bytes() for module in SHAPED_BY] + [Path(__file__).read_bytes()]
    key = sha256(repr((code, stamps, reading)).encode()).hexdigest()
    datasets.disable_progress_bars()
    read = partial(_records, parts, reading)
    try:
        return datasets.Dataset.from_generator(read, FEATURES, fingerprint=key, writer_batch_size=WRITTEN)
    except datasets.exceptions.DatasetGenerationError as error:
        raise (error.__cause__ if isinstance(error.__cause__, UserError) else error) from None


def _stamp(file: Path) -> tuple[int, int]:
    return file.stat().st_size, file.stat().st_mtime_ns


def _records(parts: list[tuple[str | None, Path, Names]], reading: Reading) -> Iterator[dict[str, Any]]:
    """Every row of every table. Ids that are missing are made of file and row, and repeated ones get their row."""
    empty, ids = dict.fromkeys(FEATURES), set()
    for split, file, names in parts:
        for number, row in enumerate(files.read_rows(file), start=1):
            record = empty | {"file": str(file), "row": number}
            try:
                if isinstance(row, str):
                    raise BadExample(row)
                record |= reading.record(row, names, file, split)
            except BadExample as error:
                yield record | {"problem": str(error)}
                continue
            name = record["id"] or f"{file.stem}/{number}"
            while name in ids:
                name = f"{name}/{number}"
            ids.add(name)
            yield record | {"id": name}
