"""Find the hard questions: ``python src/mine.py data=textvqa paths.output_dir=outputs/mined``.

Asks the base model every training question several times and writes the mean scores to mined.csv, for data.mined=,
data.mix= and data.hard_fraction=. Stopped, it goes on with the same command; ``mine.shards`` divides the work.
"""

import csv
from statistics import fmean

from torch.utils.data import Subset

from loupe.data.mixing import HARD, MINED
from loupe.errors import UserError, require_int
from loupe.evaluation import asking
from loupe.evaluation.conditions import questions
from loupe.metrics import figures
from loupe.runs import cli
from loupe.runs import run as runs


def mine(cfg) -> dict[str, float]:
    """Ask the questions of one shard; returns the mean score of each by its id."""
    shards, shard = require_int("mine.shards", cfg.mine.shards, 1), require_int("mine.shard", cfg.mine.shard, 0)
    if shard >= shards:
        raise UserError(f"mine.shard={shard}: must be below mine.shards={shards}")
    with runs.job(cfg) as whole:
        runs.claim(cfg, whole)
        folder = whole / f"{shard}-of-{shards}" if shards > 1 else whole
        folder.mkdir(exist_ok=True)
        examples = questions(runs.make(cfg.data), cfg.evaluate.split, cfg.evaluate.n)
        examples = Subset(examples, range(shard, len(examples), shards))
        rows = asking.answers(cfg, folder, examples, (shard, shards)).rows
        scores = figures.question_scores(rows)
        with (folder / MINED).open("w", newline="") as file:
            csv.writer(file).writerows([("id", "score"), *scores.items()])
        tell(rows)
        cli.LOG.info("to train on the hard ones: data.mined=%s data.mix=at_most_half", whole)
        return scores


def tell(rows: list[dict]) -> None:
    """Print how hard the questions are, and those of each subset."""
    for name in ("all", *sorted({row["subset"] for row in rows if row["subset"]})):
        part = figures.question_scores([row for row in rows if name in ("all", row["subset"])]).values()
        never, hard = fmean(score == 0 for score in part), fmean(score <= HARD for score in part)
        told = f"mean score {fmean(part):.3f}; never right {never:.0%}, at most half {hard:.0%}"
        cli.LOG.info("%s: %d questions, %s", name, len(part), told)


main = cli.entry("mine")(mine)

if __name__ == "__main__":
    main()
