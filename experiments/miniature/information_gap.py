"""Does the overview hold the number on a small sign at all?

    python experiments/miniature/information_gap.py

Readers start from the base, which can read, and get the same number of further lessons at the same learning rate, all
on pictures with one small sign. They differ in what they are shown: the whole picture at 112 px, as in training; 400 px
around the sign at 112 px, as after a well-aimed zoom; and the whole picture at 280 px, to show that reading whole
pictures can be learned at all. Writes information_gap.csv beside this file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning
import pandas
import torch
from hydra import compose, initialize_config_dir
from torch.utils.data import Dataset

import loupe.runs.cli  # noqa: F401  (registers the resolvers that the configuration uses)
from loupe.data.scenes import SceneStyle, SignScene
from loupe.geometry import middle
from loupe.paths import CONF
from loupe.pretrain.module import PretrainModule
from loupe.pretrain.teacher import DIGITS, Teacher
from loupe.runs.build import build_rollout
from loupe.runs.config import factory, instantiate
from loupe.sft.lessons import LessonBatch, batch_lessons, hits
from loupe.tools.zoom import crop_box

HERE = Path(__file__).resolve().parent
STEPS, BATCH, HELDOUT, CROP = 150, 64, 512, 400
READERS = (("overview", 112), ("crop", 112), ("overview", 280))
STYLE = SceneStyle(n_signs=(1, 1), p_small=1.0)


class SmallSigns(Dataset[list[LessonBatch]]):
    """Step k shows ``BATCH`` pictures with one small sign each, whole ("overview") or cropped around it ("crop").

    side: the long side at which they are shown.
    """

    def __init__(self, teacher: Teacher, shown: str, side: int, split: str, steps: int):
        self.teacher, self.shown, self.side, self.split, self.steps = teacher, shown, side, split, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[LessonBatch]:
        scenes = (SignScene(self.split, 0, step * BATCH + i, STYLE) for i in range(BATCH))
        return [batch_lessons([[self._view(scene)] for scene in scenes])]

    def _view(self, scene: SignScene):
        picture = scene.render()
        box = (0, 0, *picture.size)
        if self.shown == "crop":
            box = crop_box(middle(scene.asked.box), CROP, picture.size)
        return self.teacher.view(picture, scene.asked, box, self.side)


@torch.no_grad()
def exact(policy, batches: Dataset) -> float:
    """Share of the numbers that are read exactly (greedy)."""
    right, count = 0, 0
    for step in range(len(batches)):
        batch = batches[step][0]
        read = hits(policy, batch)
        digits = batch.weights == DIGITS
        right += sum(bool(read[digits & (batch.lesson == lesson)].all()) for lesson in range(BATCH))
        count += BATCH
    return right / count


def read(shown: str, side: int) -> dict:
    """Train one reader; returns the row of what it reads in held-out pictures before and after."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("pretrain", overrides=["model=tiny"])
    lightning.seed_everything(0, verbose=False)
    policy, tools = instantiate(cfg.model), instantiate(cfg.tool)
    teacher = Teacher(partial(factory(cfg.prompt), policy=policy), tools)
    heldout = SmallSigns(teacher, shown, side, "test", -(-HELDOUT // BATCH))
    lessons = SmallSigns(teacher, shown, side, "pretrain", STEPS)
    judged = {"reward": instantiate(cfg.reward), "reporter": instantiate(cfg.report)}
    judged["rollout"] = build_rollout(cfg, policy, tools)
    module: PretrainModule = instantiate(cfg.pretrain.module, policy=policy, curriculum=lessons, measure=dict, **judged)
    before = exact(policy.eval(), heldout)
    lightning.Trainer(
        max_steps=STEPS, limit_val_batches=0, logger=False, enable_checkpointing=False, accelerator="cpu", devices=1
    ).fit(module)
    return {
        "shown": shown,
        "side": side,
        "lessons": STEPS * BATCH,
        "before": before,
        "after": exact(policy.eval(), heldout),
        "n": len(heldout) * BATCH,
    }


if __name__ == "__main__":
    rows = [read(shown, side) for shown, side in READERS]
    table = pandas.DataFrame(rows)
    table.to_csv(HERE / "information_gap.csv", index=False)
    print(table)
