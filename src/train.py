"""Train a policy with GRPO: ``python src/train.py reward=composite crop=400 data=signs seed=3``.

Configuration: conf/train.yaml and the groups beside it. Results: ``paths.output_dir`` (see loupe/runs/files.py).
"""

from loupe.runs import build, cli, folder, run
from loupe.runs.lock import locked


def train(cfg) -> dict:
    """Evaluate, train, evaluate again; returns the content of summary.json."""
    with run.job(cfg) as out, locked(out):
        if summary := folder.finished_before(cfg, out):
            return summary
        data, module = build.build_data(cfg), build.build_module(cfg)  # a mistake in the data is told at once
        assert data.train is not None  # which build_data has checked
        trainer = build.build_trainer(cfg, out, keep_best=data.val is not None)
        earlier = folder.open_for_training(cfg, out)
        with run.finishing(trainer):
            module.before = earlier["before"] if earlier else run.measure_before(trainer, module, data)
            trainer.fit(module, data, ckpt_path=folder.checkpoint_path(cfg))
            seconds = module.seconds
            run.load_best(trainer, module)
            after = run.evaluate(trainer, module, data, "after")
            return run.finish(cfg, out, module, seconds, after, data.train[0])


main = cli.entry(train, objective=lambda summary: summary["best_val_score"])

if __name__ == "__main__":
    main()
