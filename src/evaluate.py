"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and what the tool is worth (loupe/evaluation); leaves evaluation.json and, answer by
answer, answers.parquet. Stopped, it goes on with the same command and ``paths.output_dir``.
"""

import json

from loupe import cli, runs
from loupe.errors import require_int
from loupe.evaluation import asking, figures, settings
from loupe.evaluation.answers import write_parquet
from loupe.evaluation.conditions import questions


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns what evaluation.json holds."""
    asked = cfg.evaluate
    with runs.job(cfg) as folder:
        runs.claim(cfg, folder)
        stated, resamples = settings.settings(cfg), require_int("evaluate.resamples", asked.resamples, 1)
        examples = questions(runs.make(cfg.data), asked.split, asked.n)
        rows, skipped = asking.answers(cfg, folder, examples, stated)
        report = {"settings": stated, "skipped_rows": len(skipped)} | figures.report(rows, resamples)
        write_parquet(rows, folder / "answers.parquet")
        (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
        cli.LOG.info("%s\n%s\nevery answer is in %s", figures.table(report), settings.line(stated), folder)
        return report


main = cli.entry("evaluate")(evaluate)

if __name__ == "__main__":
    main()
