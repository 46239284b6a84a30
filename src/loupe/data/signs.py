"""Questions about rendered street signs (see ``scenes``), whose answers are known and which need no download."""

from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from torch.utils.data import Dataset

from loupe.data.datamodule import LoupeDataModule
from loupe.data.mixing import mixed
from loupe.data.scenes import SceneStyle, SignScene
from loupe.errors import require_int
from loupe.records import Example

MOST = 10**7
"""The most questions of a split. They cost nothing, but their order in an epoch of training is a list in memory."""
ANNOTATORS, MAX_DISSENT = 10, 3
LOOKALIKES = ("689", "247", "137", "258", "179", "368", "058", "129", "036", "047")
"""The digits that each digit, from 0 to 9, is misread as."""


class Signs(Dataset[Example]):
    """``size`` questions, one per scene, about the number on a sign; another split or seed has other scenes.

    ``style`` takes the fields of :class:`SceneStyle`.
    """

    def __init__(self, split: str, seed: int, size: int, **style: Any) -> None:
        self.split = split
        self.seed = require_int("seed" if split == "train" else "data.heldout_seed", seed, 0)
        self.size = require_int(f"data.n_{split.replace('validation', 'val')}", size, 1, MOST)
        self.style = SceneStyle(**style)

    def __len__(self) -> int:
        return self.size

    @property
    def ids(self) -> list[str]:
        return [f"signs/{self.split}/{self.seed}/{index}" for index in range(self.size)]

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return self.question(self.scene(index))

    def scene(self, index: int) -> SignScene:
        return SignScene(self.split, self.seed, index, self.style)

    def question(self, scene: SignScene) -> Example:
        """The question about one of the scenes."""
        sign = scene.asked
        return Example(
            id=f"signs/{scene.key}",
            image=scene,
            question=f"What number is on the {sign.color} sign?",
            references=annotate(sign.text, scene.rng("annotators")),
            target_boxes=(sign.box,),
            subset=sign.size,
        )


class Boxes(Signs):
    """The same scenes, with questions that ask for the box of the sign."""

    def question(self, scene: SignScene) -> Example:
        example = super().question(scene)
        question = f"Where is the {scene.asked.color} sign?"
        return replace(example, question=question, references=(), answer_box=example.target_boxes[0])


def signs_datamodule(
    seed: int,
    heldout_seed: int,
    n_train: int,
    n_val: int,
    n_test: int,
    batch_size: int,
    eval_batch_size: int,
    num_workers: int = 0,
    order_seed: int | None = None,
    mined: str | None = None,
    mix: str = "all",
    hard_fraction: float | None = None,
    dataset: type[Signs] = Signs,
    **style: Any,
) -> LoupeDataModule:
    """Training scenes follow ``seed``, validation and test scenes ``heldout_seed``.

    order_seed: of the order of the training scenes, and of which ones a mix leaves out; None: ``seed``. mined, mix,
    hard_fraction: see ``mixing.mixed``. dataset: the kind of question. style: see :class:`SceneStyle`.
    """
    train = dataset("train", seed, n_train, **style)
    val = dataset("validation", heldout_seed, n_val, **style)
    test = dataset("test", heldout_seed, n_test, **style)
    order = seed if order_seed is None else order_seed
    chosen = mixed(train, train.ids, mined, mix, hard_fraction, order)
    return LoupeDataModule(chosen, val, test, batch_size, eval_batch_size, order, num_workers)


boxes_datamodule = partial(signs_datamodule, dataset=Boxes)


def annotate(text: str, rng: Random) -> tuple[str, ...]:
    """The answers of ten annotators: at least seven read ``text``, the others each misread it in a different way.

    No two misreadings agree, so a wrong answer never scores more than 1/3 by min(1, matches/3).
    """
    misread = {text[:i] + other + text[i + 1 :] for i, digit in enumerate(text) for other in LOOKALIKES[int(digit)]}
    dropped = {text[:i] + text[i + 1 :] for i in range(len(text))} - {""}
    dissent = rng.sample(sorted(misread | dropped), rng.randint(0, MAX_DISSENT))
    answers = dissent + [text] * (ANNOTATORS - len(dissent))
    rng.shuffle(answers)
    return tuple(answers)
