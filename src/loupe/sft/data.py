"""Batches of lessons for a run, in an order that an interruption does not change."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from loupe.data.datamodule import LoupeDataModule, StepSampler
from loupe.records import Example
from loupe.sft.lessons import micro_batches
from loupe.sft.module import Material
from loupe.sft.traces import Trace
from loupe.sft.writer import Writer


class Lessons(Dataset[Material]):
    """Items are given by several indices: the lessons of the traces about these questions.

    questions: the traces about each question. token_budget: see ``lessons.micro_batches``.
    """

    def __init__(self, questions: list[list[Trace]], writer: Writer, token_budget: int):
        self.questions, self.writer, self.token_budget = questions, writer, token_budget

    def __len__(self) -> int:
        return len(self.questions)

    def example(self) -> Example:
        """Any of the questions."""
        return self.questions[0][0].example()

    def __getitem__(self, indices: list[int]) -> Material:
        written = [self.writer.lessons(self.questions[index]) for index in indices]
        batches = micro_batches((lessons for lessons, _ in written if lessons), self.token_budget)
        return [*batches, *(error for _, errors in written for error in errors)]


class LessonsModule(LoupeDataModule):
    """Trains on lessons, and judges by others that are held out and by the validation and test questions of a data set.

    questions: that data set; its batch sizes count the questions of a step here too. seed: determines the order.
    """

    def __init__(self, lessons: Lessons, heldout: Lessons, questions: LoupeDataModule, seed: int):
        sizes = {name: getattr(questions, name) for name in ("batch_size", "eval_batch_size", "num_workers")}
        super().__init__(None, questions.val, questions.test, seed=seed, **sizes)
        self.lessons, self.heldout = lessons, heldout

    def train_dataloader(self) -> DataLoader:
        start = self.trainer.global_step if self.trainer else 0
        sampler = StepSampler(len(self.lessons), self.batch_size, self.seed, start, *self._rank())
        generator = torch.Generator()  # leaves the global generator alone, see LoupeDataModule
        return DataLoader(
            self.lessons, None, sampler=sampler, num_workers=self.num_workers, collate_fn=list, generator=generator
        )

    def val_dataloader(self) -> DataLoader[list[Example]] | list:
        """The validation questions, or one empty batch: without any, Lightning skips the validation."""
        return self._in_order([] if self.val is None else self.val)

    def heldout_lessons(self) -> Iterator[Material]:
        """This rank's share of the held-out lessons."""
        rank, world_size = self._rank()
        share = range(rank, len(self.heldout), world_size)
        for start in range(0, len(share), self.batch_size):
            yield self.heldout[list(share[start : start + self.batch_size])]
