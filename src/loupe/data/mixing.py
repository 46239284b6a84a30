"""Training on hard questions: those that a base model often gets wrong, as measured by src/mine.py.

The mixes "zero", "at_most_half" and "one_to_one" are those of arXiv 2506.14821.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from loupe.atomic import replacing
from loupe.data.datamodule import Questions, subset
from loupe.errors import UserError, require_choice, require_number
from loupe.paths import of_setting

LOG = logging.getLogger(__name__)
MINED = "mined.csv"
FORMULA = ("=", "+", "-", "@", "'", "\t", "\r")  # how a cell begins that a spreadsheet would compute
HARD = 0.5
"""The highest mean score of a hard question."""
KEPT = {"all": 1.0, "zero": 0.0, "at_most_half": HARD, "one_to_one": 1.0}
"""The highest mean score of a question that each mix keeps."""


def mixed(
    questions: Questions, ids: Sequence[str], mined: str | None, mix: str, hard_fraction: float | None, seed: int
) -> Questions:
    """The questions of a training set that belong to a mix, in their original order.

    ids: the ids of the questions. mined: a mined.csv of src/mine.py, or a folder that holds one or more.
    mix: "all"; "zero": questions that the base never answered correctly; "at_most_half": questions with a mean score of
    at most a half; "one_to_one": as many hard questions (mean score of at most a half) as others.
    hard_fraction: the share of hard questions among those that ``mix`` keeps. To reach a share, questions of the more
    frequent kind are dropped at random, keyed by ``seed``. Questions that were not mined are skipped and named in the
    log, and so is that "all" needs no ``mined``. Raises UserError if no question is left, or if a mix needs ``mined``
    and it is None.
    """
    require_choice("data.mix", mix, KEPT)
    setting, share = f"data.mix={mix} data.hard_fraction={hard_fraction}", hard_fraction
    if mix == "one_to_one":
        if hard_fraction is not None:
            raise UserError("data.mix=one_to_one: means data.hard_fraction=0.5; remove one of the two")
        share = 0.5
    elif hard_fraction is not None:
        require_number("data.hard_fraction", hard_fraction, 0, 1)
    elif mix == "all":
        if mined is not None:
            fix = "give data.mix=at_most_half or data.hard_fraction=<share> to train on hard ones"
            LOG.warning("data.mined=%s: not read, because data.mix=all takes every question; %s", mined, fix)
        return questions
    if mined is None:
        raise UserError(f"{setting}: needs data.mined=<folder of src/mine.py>")
    scores = read_mined(of_setting(mined))
    kept = [i for i in _known(ids, scores, mined) if scores[ids[i]] <= KEPT[mix]]
    if share is not None:
        hard, easy = ([i for i in kept if (scores[ids[i]] <= HARD) == is_hard] for is_hard in (True, False))
        kept = _of_share(hard, easy, share, seed)
    if not kept:
        raise UserError(f"{setting}: no question of data.mined={mined} is left; choose another mix")
    LOG.info("training on %d of %d questions (data.mix=%s)", len(kept), len(ids), mix)
    return subset(questions, kept)


def write_mined(scores: Mapping[str, float], path: Path) -> None:
    """Replace ``path`` with the score of each question by its id."""
    with replacing(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "score"), *((_as_text(name), score) for name, score in scores.items())])


def read_mined(path: Path) -> dict[str, float]:
    """The mean score of each question by its id, from one file or from all that a folder holds."""
    files = [path] if path.is_file() else sorted(path.rglob(MINED))
    if not files:
        raise UserError(f"data.mined={path}: no {MINED} there; write it with python src/mine.py")
    scores: dict[str, float] = {}
    for file in files:
        try:
            with file.open(newline="") as lines:
                rows = {_plain(row["id"]): float(row["score"]) for row in csv.DictReader(lines)}
        except (KeyError, TypeError, ValueError) as error:
            lacks = f"lacks the columns id and score ({error})"
            raise UserError(f"data.mined: {file} {lacks}; write it with python src/mine.py") from error
        if conflicts := sorted(name for name in rows if scores.get(name, rows[name]) != rows[name]):
            raise UserError(f"data.mined={path}: {conflicts[0]} has two scores; keep only one set of mined.csv there")
        scores |= rows
    return scores


def _as_text(name: str) -> str:
    """``name`` in a form that no spreadsheet takes for a formula: with an apostrophe before such a beginning."""
    return f"'{name}" if name.startswith(FORMULA) else name


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _known(ids: Sequence[str], scores: dict[str, float], mined: str) -> list[int]:
    """The indices of the questions that were mined; the others are named in the log."""
    missing = [name for name in ids if name not in scores]
    if len(missing) == len(ids):
        raise UserError(f"data.mined={mined}: holds none of these questions ({ids[0]}, ..); mine this data set")
    if missing:
        named = ", ".join(missing[:5]) + (" .." if len(missing) > 5 else "")
        LOG.warning("skipped %d questions that data.mined=%s does not hold (%s)", len(missing), mined, named)
    return [i for i, name in enumerate(ids) if name in scores]


def _of_share(hard: list[int], easy: list[int], share: float, seed: int) -> list[int]:
    """The largest random subset of both in which hard questions make up ``share``."""
    parts = [(hard, share), (easy, 1 - share)]
    total = min(len(kind) / part for kind, part in parts if part)
    random = Random(f"mix/{seed}")
    return sorted(i for kind, part in parts for i in random.sample(kind, round(total * part)))
