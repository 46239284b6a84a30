"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and the value of the tool; leaves evaluation.json, and every answer in answers.parquet.
A stopped evaluation resumes with the same command and ``paths.output_dir``.
"""

import logging

from loupe.atomic import write_json
from loupe.errors import require_int
from loupe.evaluation.answers import collect_answers
from loupe.evaluation.conditions import questions
from loupe.evaluation.journal import write_parquet
from loupe.evaluation.report import report, table
from loupe.evaluation.settings import settings_line
from loupe.runs import cli, folder, run
from loupe.runs.config import instantiate
from loupe.runs.lock import locked

LOG = logging.getLogger(__name__)


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns the content of evaluation.json."""
    with run.job(cfg) as out, locked(out):
        folder.open_for_entry(cfg, out)
        resamples = require_int("evaluate.resamples", cfg.evaluate.resamples, 1)
        examples = questions(instantiate(cfg.data), cfg.evaluate.split, cfg.evaluate.n)
        answers = collect_answers(cfg, out, examples)
        result = {"settings": answers.settings, "skipped_rows": len(answers.skipped)}
        result |= report(answers.rows, resamples)
        write_parquet(answers.rows, out / "answers.parquet")
        write_json(out / "evaluation.json", result)
        line = settings_line(answers.settings, {row["condition"] for row in answers.rows})
        LOG.info("%s\n%s\nevery answer is in %s", table(result), line, out)
        return result


main = cli.entry(evaluate)

if __name__ == "__main__":
    main()
