"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and what the tool is worth (loupe/evaluation.py); leaves evaluation.json and, question
by question, answers.jsonl.
"""

from tqdm import tqdm

from loupe import cli, evaluation, runs
from loupe.errors import require_int
from loupe.tools.zoom import NoTool


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns what evaluation.json holds."""
    asked = cfg.evaluate
    with runs.job(cfg) as folder:
        runs.claim(cfg, folder)
        examples = evaluation.questions(runs.make(cfg.data), asked.split, asked.n)
        resamples = require_int("evaluate.resamples", asked.resamples, 1)
        policy, reward = runs.make(cfg.model, trainable=False), runs.make(cfg.reward)
        with_tool, without = (runs.build_rollout(cfg, policy, tool) for tool in (runs.make(cfg.tool), NoTool()))
        conditions = evaluation.conditions(with_tool, without, examples, asked.samples)
        answers, skipped = {}, set()
        bar = tqdm(total=len(conditions) * len(examples), unit="question", disable=not cfg.trainer.enable_progress_bar)
        with runs.device(cfg, policy), bar:
            for condition in conditions:
                bar.set_description(condition.name)
                answers[condition.name], errors = condition.answers(cfg.data.eval_batch_size, reward, bar.update)
                skipped |= set(errors)
        for line in sorted(skipped):
            cli.LOG.warning("skipped: %s", line)
        settings = {key: cli.resolved(cfg)[key] for key in ("evaluate", "model", "tool", "crop", "resolution", "seed")}
        figures = {"settings": settings, "skipped_rows": len(skipped)} | evaluation.report(answers, resamples)
        runs.write_provenance(cfg, folder)
        evaluation.save(folder, figures, answers)
        cli.LOG.info("%s\nevery answer is in %s", evaluation.table(figures), folder)
        return figures


main = cli.entry("evaluate")(evaluate)

if __name__ == "__main__":
    main()
