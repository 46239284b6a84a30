"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and what the tool is worth (loupe/evaluation); leaves evaluation.json and, answer by
answer, answers.parquet. Stopped, it goes on with the same command and ``paths.output_dir``.
"""

import json

from omegaconf import OmegaConf
from tqdm import tqdm

from loupe import cli, runs
from loupe.checkpoints import Interrupted
from loupe.errors import require_int
from loupe.evaluation import figures, settings
from loupe.evaluation.answers import Journal, write_parquet
from loupe.evaluation.conditions import Condition, conditions, questions
from loupe.provenance import command_line
from loupe.tools.zoom import NoTool


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns what evaluation.json holds."""
    asked = cfg.evaluate
    with runs.job(cfg) as folder:
        runs.claim(cfg, folder)
        stated, resamples = settings.settings(cfg), require_int("evaluate.resamples", asked.resamples, 1)
        examples = questions(runs.make(cfg.data), asked.split, asked.n)
        ways = build_conditions(cfg, examples)
        settings.claim(folder, stated)
        runs.write_provenance(cfg, folder)
        journal = Journal(folder)
        try:
            ask(cfg, ways, journal)
        except KeyboardInterrupt as stop:
            raise Interrupted(f"stopped; to go on: {command_line()} paths.output_dir={folder}") from stop
        for line in journal.skipped:
            cli.LOG.warning("skipped: %s", line)
        rows = journal.rows([way.name for way in ways])
        report = {"settings": stated, "skipped_rows": len(journal.skipped)} | figures.report(rows, resamples)
        write_parquet(rows, folder / "answers.parquet")
        (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")
        cli.LOG.info("%s\n%s\nevery answer is in %s", figures.table(report), settings.line(stated), folder)
        return report


def build_conditions(cfg, examples) -> list[Condition]:
    policy = runs.make(cfg.model, trainable=False)

    def build(way: dict):
        prompted = OmegaConf.merge(cfg, {"prompt": way["prompt"]})
        return runs.build_rollout(prompted, policy, runs.make(cfg.tool) if way["tool"] else NoTool())

    known = OmegaConf.to_container(cfg.evaluate.known, resolve=True)
    return conditions(cfg.evaluate.conditions, known, examples, build)


def ask(cfg, ways: list[Condition], journal: Journal) -> None:
    """Ask what the journal does not hold yet."""
    journal.read()
    reward = runs.make(cfg.reward)
    missing = {way.name: journal.missing(way.name, len(way.examples)) for way in ways}
    bar = tqdm(total=sum(map(len, missing.values())), unit="question", disable=not cfg.trainer.enable_progress_bar)
    with runs.device(cfg, ways[0].rollout.policy), bar:
        for way in ways:
            bar.set_description(way.name)
            for outcomes in way.answer(missing[way.name], cfg.data.eval_batch_size, reward):
                journal.add(outcomes)
                bar.update(len(outcomes))


main = cli.entry("evaluate")(evaluate)

if __name__ == "__main__":
    main()
