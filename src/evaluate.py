"""Judge a policy: ``python src/evaluate.py model.path=outputs/first/model data.n_test=1000``.

Prints scores with 95% intervals and what the tool is worth (loupe/evaluation.py); leaves evaluation.json and, question
by question, answers.jsonl.
"""

import json

from torch.utils.data import Subset
from tqdm import tqdm

from loupe import cli, evaluation, runs
from loupe.errors import UserError, require_choice, require_int
from loupe.metrics import trajectory_row
from loupe.tools.zoom import NoTool


def questions(cfg):
    """The split that is asked for, or its first ``evaluate.n`` questions."""
    split = require_choice("evaluate.split", cfg.evaluate.split, ("train", "val", "test"))
    examples = getattr(runs.make(cfg.data), split)
    if examples is None:
        raise UserError(f"evaluate.split={split}: this data set has no such split")
    wanted = len(examples) if cfg.evaluate.n is None else require_int("evaluate.n", cfg.evaluate.n, 1)
    return Subset(examples, range(min(wanted, len(examples))))


def evaluate(cfg) -> dict:
    """Answer every question under every condition; returns what evaluation.json holds."""
    with runs.job(cfg) as folder:
        policy, examples = runs.make(cfg.model), questions(cfg)
        samples = require_int("evaluate.samples", cfg.evaluate.samples, 0)
        resamples = require_int("evaluate.resamples", cfg.evaluate.resamples, 1)
        with_tool, without = (runs.build_rollout(cfg, policy, tool) for tool in (runs.make(cfg.tool), NoTool()))
        asked = evaluation.conditions(with_tool, without, examples, samples)
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_provenance(cfg, folder)
        answers, skipped, reward = {}, set(), runs.make(cfg.reward)
        with runs.device(cfg, policy), tqdm(total=len(asked) * len(examples), unit="question") as bar:
            for condition in asked:
                bar.set_description(condition.name)
                answers[condition.name], errors = condition.answers(cfg.data.eval_batch_size, reward, bar.update)
                skipped |= set(errors)
        return tell(cfg, folder, answers, evaluation.report(answers, resamples), sorted(skipped))


def tell(cfg, folder, answers, figures, skipped) -> dict:
    """Write the files, print the table."""
    for line in skipped:
        cli.LOG.warning("skipped: %s", line)
    settings = {key: cfg[key] for key in ("seed", "crop", "resolution")} | {"model": cfg.model.path}
    figures = {"settings": settings, "skipped_rows": len(skipped)} | figures
    (folder / "evaluation.json").write_text(json.dumps(figures, indent=2) + "\n")
    with (folder / "answers.jsonl").open("w") as file:
        for condition, groups in answers.items():
            for trajectory, example in ((t, group.example) for group in groups for t in group.trajectories):
                file.write(json.dumps(trajectory_row(trajectory, example, 0, condition)) + "\n")
    cli.LOG.info("%s\nevery answer is in %s", evaluation.table(figures), folder)
    return figures


main = cli.entry("evaluate")(evaluate)

if __name__ == "__main__":
    main()
