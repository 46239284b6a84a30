"""Training on the questions that are worth it: those that a base model gets wrong, as src/mine.py has measured.

The mixes that arXiv 2506.14821 tried are "zero", "at_most_half" and "one_to_one".
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

from torch.utils.data import Dataset, Subset

from loupe.errors import UserError, is_number, require_choice
from loupe.records import Example

LOG = logging.getLogger(__name__)
MINED = "mined.csv"
HARD = 0.5
"""Questions with at most this mean score are hard."""
KEPT = {"all": 1.0, "zero": 0.0, "at_most_half": HARD, "one_to_one": 1.0}
"""The highest mean score that each mix keeps."""


def mixed(
    questions: Dataset[Example],
    ids: Sequence[str],
    mined: str | None,
    mix: str,
    hard_fraction: float | None,
    seed: int,
) -> Dataset[Example]:
    """The questions of a training set that a mix consists of, in their order.

    ids: of the questions. mined: a mined.csv of src/mine.py, or a folder with one or several. mix: "all"; "zero":
    those that the base never got right; "at_most_half": those of at most that mean score; "one_to_one": as many hard
    ones (at most half) as others. hard_fraction: the share of hard ones, of whatever ``mix`` leaves; both this and
    "one_to_one" leave out, by ``seed``, some of which there are too many. Questions that were not mined are named and
    left out. Raises UserError if nothing is left, or if there is nothing to tell hard questions by.
    """
    require_choice("data.mix", mix, KEPT)
    share = _share(mix, hard_fraction)
    if mix == "all" and share is None:
        return questions
    if mined is None:
        raise UserError(f"data.mix={mix} data.hard_fraction={hard_fraction}: need data.mined=<folder of src/mine.py>")
    scores = read_mined(Path(mined))
    known = _known(ids, scores, mined)
    kept = [i for i in known if scores[ids[i]] <= KEPT[mix]]
    if share is not None:
        kept = _of_share(kept, [scores[ids[i]] <= HARD for i in kept], share, seed)
    if not kept:
        raise UserError(f"data.mix={mix} data.hard_fraction={hard_fraction}: no question of data.mined={mined} is left")
    LOG.info("training on %d of %d questions (data.mix=%s)", len(kept), len(ids), mix)
    return Subset(questions, kept)


def read_mined(path: Path) -> dict[str, float]:
    """The mean score of each question by its id, from one file or all those below a folder."""
    files = [path] if path.is_file() else sorted(path.rglob(MINED))
    if not files:
        raise UserError(f"data.mined={path}: no {MINED} there; python src/mine.py writes it")
    scores: dict[str, float] = {}
    for file in files:
        try:
            with file.open(newline="") as lines:
                rows = {row["id"]: float(row["score"]) for row in csv.DictReader(lines)}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"data.mined: {file} has not the columns id and score of src/mine.py ({error})") from error
        if twice := sorted(name for name in rows if scores.get(name, rows[name]) != rows[name]):
            raise UserError(f"data.mined={path}: {twice[0]} has two scores; keep only one set of mined.csv there")
        scores |= rows
    return scores


def _share(mix: str, hard_fraction: float | None) -> float | None:
    if mix == "one_to_one":
        if hard_fraction is not None:
            raise UserError("data.mix=one_to_one: means data.hard_fraction=0.5; leave one of the two out")
        return 0.5
    if hard_fraction is not None and not (is_number(hard_fraction) and 0 <= hard_fraction <= 1):
        raise UserError(f"data.hard_fraction={hard_fraction}: must be a number from 0 to 1")
    return hard_fraction


def _known(ids: Sequence[str], scores: dict[str, float], mined: str) -> list[int]:
    """The positions of the questions that were mined; names the others."""
    missing = [name for name in ids if name not in scores]
    if len(missing) == len(ids):
        raise UserError(f"data.mined={mined}: holds none of these questions ({ids[0]}, ..); was it made for this data?")
    if missing:
        named = ", ".join(missing[:5]) + (" .." if len(missing) > 5 else "")
        LOG.warning("left out: %d questions that data.mined=%s does not hold (%s)", len(missing), mined, named)
    return [i for i, name in enumerate(ids) if name in scores]


def _of_share(kept: list[int], hard: list[bool], share: float, seed: int) -> list[int]:
    """As many of ``kept`` as can be had if the hard ones make up ``share`` of them."""
    kinds = {True: [i for i, is_hard in zip(kept, hard, strict=True) if is_hard]}
    kinds[False] = sorted(set(kept) - set(kinds[True]))
    shares = {True: share, False: 1 - share}
    total = min(len(kinds[kind]) / part for kind, part in shares.items() if part)
    random = Random(f"mix/{seed}")
    return sorted(i for kind in (True, False) for i in random.sample(kinds[kind], round(total * shares[kind])))
