"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and what the tool is worth (loupe/evaluation); leaves evaluation.json and, answer by
answer, answers.parquet. Stopped, it goes on with the same command and ``paths.output_dir``.
"""

import json

from loupe.errors import require_int
from loupe.evaluation import asking, settings
from loupe.evaluation.conditions import questions
from loupe.evaluation.journal import write_parquet
from loupe.metrics import figures
from loupe.runs import cli
from loupe.runs import run as runs


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns what evaluation.json holds."""
    asked = cfg.evaluate
    with runs.job(cfg) as folder:
        runs.claim(cfg, folder)
        resamples = require_int("evaluate.resamples", asked.resamples, 1)
        answers = asking.answers(cfg, folder, questions(runs.make(cfg.data), asked.split, asked.n))
        report = {"settings": answers.settings, "skipped_rows": len(answers.skipped)}
        report |= figures.report(answers.rows, resamples)
        write_parquet(answers.rows, folder / "answers.parquet")
        (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
        cli.LOG.info("%s\n%s\nevery answer is in %s", figures.table(report), settings.line(answers.settings), folder)
        return report


main = cli.entry("evaluate")(evaluate)

if __name__ == "__main__":
    main()
