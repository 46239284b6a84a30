"""Loupe's side: its own training step, in Lightning's loop."""

import json
import sys

import lightning
import task
import torch
from recorder import Recorder

from loupe.data.datamodule import LoupeDataModule


class Timing(lightning.Callback):
    """Brackets the steps of the trainer."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def on_train_batch_start(self, *args) -> None:
        self.recorder.begin()

    def on_train_batch_end(self, *args) -> None:
        self.recorder.end()


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    module, examples = task.build(task.Point(**settings["point"]))
    recorder = Recorder()
    assign, report = module.assign_advantages, module.reporter.training

    def assign_advantages(groups, step):
        for group in groups:
            for trajectory in group.trajectories:
                trajectory.reward = task.reward(trajectory.sample)
        assign(groups, step)
        recorder.sampled(task.digest([(g.prompt.ids, t.ids, t.sampled) for g in groups for t in g.trajectories]))

    def training(loggers, step, metrics, groups, rows_of):
        recorder.norm = metrics["grad_norm"]
        report(loggers, step, metrics, groups, rows_of)

    module.assign_advantages, module.reporter.training = assign_advantages, training
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=-1,
        logger=False,
        callbacks=[Timing(recorder)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        module, datamodule=LoupeDataModule(examples, None, None, batch_size=len(examples), eval_batch_size=1, seed=0)
    )


if __name__ == "__main__":
    main()
