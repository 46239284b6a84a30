"""Train a policy on exchanges before GRPO: ``python src/sft.py traces=outputs/first min_score=1``.

Traces are the good answers of an earlier job, conversations in a file, or the reference answers of a data set
(docs/sft.md). Results: ``paths.output_dir``, as those of train.py; ``python src/train.py model.path=<run>/model`` goes
on from there.
"""

from loupe.runs import build, cli, folder, run
from loupe.runs.lock import locked
from loupe.sft.build import build as build_lessons


def sft(cfg) -> dict:
    """Evaluate, train, evaluate again; returns the content of summary.json."""
    with run.job(cfg) as out, locked(out):
        module, data = build_lessons(cfg)
        if summary := folder.finished_before(cfg, out):
            return summary
        trainer = build.build_trainer(cfg, out, keep_best=data.val is not None)
        earlier = folder.open_for_training(cfg, out)
        with run.finishing(trainer):
            module.before = earlier["before"] if earlier else run.measure_before(trainer, module, data)
            trainer.fit(module, data, ckpt_path=folder.checkpoint_path(cfg))
            seconds = module.seconds
            run.load_best(trainer, module)
            after = run.evaluate(trainer, module, data, "after")
            return run.finish(cfg, out, module, seconds, after, data.lessons.example())


main = cli.entry(sft, objective=lambda summary: summary["best_val_score"])

if __name__ == "__main__":
    main()
