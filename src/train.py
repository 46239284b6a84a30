"""Train a policy with GRPO: ``python src/train.py reward=composite crop=400 data=signs seed=3``.

Configuration: conf/train.yaml and the groups beside it. Results: ``paths.output_dir`` (see loupe/runs.py).
"""

import time

from loupe import cli, runs


@cli.entry("train")
def main(cfg):
    with runs.job(cfg) as folder:
        module = runs.build_module(cfg)
        data = runs.make(cfg.data)
        trainer = runs.build_trainer(cfg, folder)
        try:
            before = runs.evaluate(trainer, module, data, "before")
            started = time.perf_counter()
            trainer.fit(module, data, ckpt_path=runs.checkpoint(cfg))
            seconds = time.perf_counter() - started
            runs.load_best(trainer, module)
            after = runs.evaluate(trainer, module, data, "after")
            return runs.finish(cfg, folder, module, seconds, before, after)
        finally:
            for logger in trainer.loggers:
                logger.finish()


if __name__ == "__main__":
    main()
