"""Find the hard questions: ``python src/mine.py data=textvqa paths.output_dir=outputs/mined``.

Asks the base model every training question several times and writes the mean scores to mined.csv, for ``data.mined``,
``data.mix`` and ``data.hard_fraction``. It resumes with the same command; ``mine.shards`` divides the work.
"""

import logging
from statistics import fmean

from loupe.data.datamodule import subset
from loupe.data.mixing import HARD, MINED, write_mined
from loupe.errors import UserError, require_int
from loupe.evaluation.answers import collect_answers
from loupe.evaluation.conditions import questions
from loupe.metrics.rows import Rows
from loupe.metrics.summary import by_part, question_scores
from loupe.runs import cli, folder, run
from loupe.runs.config import instantiate
from loupe.runs.lock import locked

LOG = logging.getLogger(__name__)


def mine(cfg) -> dict[str, float]:
    """Ask the questions of one shard; returns the mean score of each by its id."""
    shards, shard = require_int("mine.shards", cfg.mine.shards, 1), require_int("mine.shard", cfg.mine.shard, 0)
    if shard >= shards:
        raise UserError(f"mine.shard={shard}: must be below mine.shards={shards}")
    with run.job(cfg) as whole:
        folder.open_for_entry(cfg, whole)
        out = whole / f"{shard}-of-{shards}" if shards > 1 else whole
        out.mkdir(exist_ok=True)
        examples = questions(instantiate(cfg.data), cfg.evaluate.split, cfg.evaluate.n)
        own = subset(examples, range(shard, len(examples), shards))
        with locked(out):
            rows = collect_answers(cfg, out, own, (shard, shards)).rows
            scores = question_scores(rows)
            write_mined(scores, out / MINED)
        print_difficulty(rows)
        LOG.info("to train on the hard questions: data.mined=%s data.mix=at_most_half", whole)
        return scores


def print_difficulty(rows: Rows) -> None:
    """How hard the questions are, for all of them and for each subset."""
    for part, members in by_part(rows, lambda row: row["subset"]).items():
        scores = question_scores(members).values()
        never, hard = fmean(score == 0 for score in scores), fmean(score <= HARD for score in scores)
        shares = f"mean score {fmean(scores):.3f}; never correct {never:.0%}, at most half {hard:.0%}"
        LOG.info("%s: %d questions, %s", part, len(scores), shares)


main = cli.entry(mine)

if __name__ == "__main__":
    main()
