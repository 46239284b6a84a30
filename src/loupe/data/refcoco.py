"""Referring expressions: which box does "the man in red" mean? RefCOCO and RefCOCO+ (arXiv 1608.00272) and RefCOCOg
(arXiv 1511.02283), on pictures of COCO.

Evaluation uses the hub's parquet (``lmms-lab/RefCOCO``, ``RefCOCOplus``: val, testA, testB; ``RefCOCOg``: val, test),
whose boxes are x, y, width, height in pixels of the original picture and whose rows hold several expressions for one
box, or an evaluation file of VLM-R1. Training uses VLM-R1's json (see ``vlm_r1``).

The hub's ``val`` of RefCOCO and RefCOCOg is larger than the published one (UNC's and UMD's split): 5,000 rows more, as
many as in Google's split, whose pictures may occur in the training set of the other.
"""

import logging
import re
from collections.abc import Set
from typing import Any

import datasets
from torch.utils.data import Dataset

from loupe.data import tables, vlm_r1
from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.tables import has_text, is_four_numbers
from loupe.errors import UserError, require_choice
from loupe.records import Example

LOG = logging.getLogger(__name__)
NAMES = {"refcoco": "RefCOCO", "refcocoplus": "RefCOCOplus", "refcocog": "RefCOCOg"}
OWNERS = ("lmms-lab", "lmms-lab-encoder")  # the data sets have moved from the first to the second
COLUMNS = ("question_id", "image", "answer", "bbox")
PUBLISHED_ROWS = {
    "refcoco": {"val": 3811, "testA": 1975, "testB": 1810},
    "refcocoplus": {"val": 3805, "testA": 1975, "testB": 1798},
    "refcocog": {"val": 2573, "test": 5023},
}
"""Boxes per published split: UNC's for RefCOCO and RefCOCO+, UMD's for RefCOCOg."""
COCO_ID = re.compile(r"(?<!\d)\d{12}(?!\d)")


def refcoco_datamodule(
    path: str | None,
    dataset: str,
    train: str | None,
    images: str | None,
    question: str,
    val_split: str,
    test_split: str | None,
    seed: int,
    n_train: int | None,
    n_val: int | None,
    n_test: int | None,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    hub: str | None = None,
    test: str | None = None,
    **settings: Any,
) -> LoupeDataModule:
    """Validation and test splits from the parquet; a training split from VLM-R1's json, if there is one.

    Held-out rows about pictures of the training split are left out and named in the log.

    path: a folder with the parquet files and possibly the json; None for the hub. hub: the id there, if it is not one
    of the known ones. dataset: "refcoco", "refcocoplus" or "refcocog". train: VLM-R1's json or jsonl, if it is not in
    ``path``. images: the folder that the json's picture paths are relative to, if it is not the json's own. question: a
    template with ``{expression}``. test_split: None for testA, or for the only test split of RefCOCOg. test: an
    evaluation file of VLM-R1, such as refcoco_val.json or lisa_test.json, in its order of evaluation; there are no
    other splits then. mined, mix, hard_fraction: see ``mixing.mixed``. settings: see :class:`LoupeDataModule`.
    """
    require_choice("data.dataset", dataset, NAMES)
    if not isinstance(question, str) or "{expression}" not in question:
        raise UserError(f"data.question={question!r}: must contain {{expression}}")
    if test is not None:
        rows = vlm_r1.evaluation(vlm_r1.require_file("data.test", test), images, question)
        return LoupeDataModule(None, None, tables.take(rows, n_test, "data.n_test"), seed=seed, **settings)
    training, pictures, file = None, frozenset[str](), vlm_r1.train_file(path, dataset, train)
    if file:
        rows = vlm_r1.questions(file, images, question)
        pictures = frozenset(picture_id(name) for name in rows.table["image"][:] if name)
        ids = [f"{file.stem}/{number}" for number in rows.indices]
        training = tables.take(mixed(rows, ids, mined, mix, hard_fraction, seed), n_train, "data.n_train")
    if test_split is None:
        test_split = "testA" if "testA" in PUBLISHED_ROWS[dataset] else "test"
    val, tested = (
        tables.take(heldout(_open(path, hub, dataset, split), dataset, split, question, pictures), n, name)
        for split, n, name in ((val_split, n_val, "data.n_val"), (test_split, n_test, "data.n_test"))
    )
    return LoupeDataModule(training, val, tested, seed=seed, **settings)


def heldout(
    table: datasets.Dataset, dataset: str, split: str, question: str, training_pictures: Set[str] = frozenset()
) -> "Expressions":
    """The usable rows of a published split, without those about pictures of the training split.

    training_pictures: their :func:`picture_id`. Warns if the split is not as large as the published one.
    """
    name = f"{dataset}/{split}"
    columns = (*COLUMNS, "file_name") if training_pictures else COLUMNS
    checks = {"bbox": _has_size, "answer": _has_expression}
    rows, n = tables.usable_rows(table, name, columns, ("question_id",), **checks), len(table)
    if training_pictures:
        files = table["file_name"][:]
        known = [number for number, file in enumerate(files) if picture_id(str(file)) in training_pictures]
        tables.report_skipped(name, "whose picture is in the training file", known)
        n, rows = n - len(known), sorted({*rows} - {*known})
        if not rows:
            raise UserError(f"{name}: all of its pictures are in the training file; give another data.train")
    if n != (published := PUBLISHED_ROWS[dataset].get(split, n)):
        LOG.warning("%s: has %d rows, the published split %d; scores do not compare", name, n, published)
    return Expressions(table, rows, name, question)


def picture_id(file: str) -> str:
    """The number of a picture in COCO, by the name of its file; the name itself if it has none."""
    found = COCO_ID.search(file)
    return found[0] if found else file


class Expressions(Dataset[Example]):
    """One question per expression in the rows ``rows`` of a table. Empty expressions are left out."""

    def __init__(self, table: datasets.Dataset, rows: list[int], name: str, question: str) -> None:
        expressions = table.with_format(None)["answer"]
        self.pairs = [
            (row, number) for row in rows for number, expression in enumerate(expressions[row]) if has_text(expression)
        ]
        self.table, self.name, self.question = table, name, question

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        row_number, number = self.pairs[index]
        row = self.table[row_number]
        cluster = f"{self.name}/{row['question_id']}"
        picture, expression = tables.stored_picture(row["image"]), row["answer"][number]
        x, y, width, height = row["bbox"]
        box = (x, y, x + width, y + height)
        return vlm_r1.example(f"{cluster}/{number}", picture, self.question, expression, box, cluster)


def _open(path: str | None, hub: str | None, dataset: str, split: str) -> datasets.Dataset:
    if path is None:
        return tables.split_from_hub(hub, [f"{owner}/{NAMES[dataset]}" for owner in OWNERS], split)
    folders = (dataset, NAMES[dataset])
    files = tables.find_files(path, *(f"{name}/**/{split}-*.parquet" for name in folders), f"{split}-*.parquet")
    if len({file.parent for file in files}) > 1:
        raise UserError(f"data.path={path}: {split} is in several folders there; give the one of {dataset}")
    return tables.from_files("parquet", files)


def _has_size(bbox: object) -> bool:
    return is_four_numbers(bbox) and min(bbox[2:]) > 0


def _has_expression(answer: object) -> bool:
    return isinstance(answer, list) and any(map(has_text, answer))
