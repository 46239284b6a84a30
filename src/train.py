"""Train a policy with GRPO: ``python src/train.py reward=composite crop=400 data=signs seed=3``.

Configuration: conf/train.yaml and the groups beside it. Results: ``paths.output_dir`` (see loupe/runs/run.py).
"""

from loupe.runs import cli, sweeps
from loupe.runs import run as runs


def train(cfg) -> dict:
    """Evaluate, train, evaluate again; returns what summary.json holds."""
    with runs.job(cfg) as folder:
        if done := sweeps.take_up(cfg, folder):
            return done
        module = runs.build_module(cfg)
        data = runs.make(cfg.data)
        trainer = runs.build_trainer(cfg, folder)
        earlier = runs.begin(cfg, folder)
        with runs.finishing(trainer):
            module.before = earlier.get("before") or runs.measure_before(trainer, module, data)
            trainer.fit(module, data, ckpt_path=runs.checkpoint(cfg))
            seconds = module.seconds
            runs.load_best(trainer, module)
            after = runs.evaluate(trainer, module, data, "after")
            return runs.finish(cfg, folder, module, seconds, after)


main = cli.entry("train", objective=lambda summary: summary["best_val_score"])(train)

if __name__ == "__main__":
    main()
