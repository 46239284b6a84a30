"""Batches of :class:`Example` for a run, in an order that an interruption does not change."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from random import Random
from typing import Any, Protocol

import lightning
import torch
from torch.utils.data import DataLoader, Sampler, Subset

from loupe.errors import MOST_THREADS, UserError, require_int
from loupe.records import Example


class Questions(Protocol):
    """A map-style data set of examples, such as a ``torch.utils.data.Dataset`` that has a length."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Example: ...


def subset(questions: Questions, indices: Sequence[int]) -> Questions:
    """The questions at ``indices``."""
    return Subset(questions, indices)  # type: ignore[arg-type]  # torch's Dataset has no length, so it is no protocol


@dataclass(eq=False)
class StepSampler(Sampler[list[int]]):
    """Endless batches of indices; the batch of step k is a function of (seed, k, length, batch size, ranks).

    Each epoch is a new permutation keyed by (seed, epoch), dealt out step by step and, within a step, rank by rank.
    The remainder that does not fill a step is dropped. A sampler that starts at step k therefore continues exactly
    like one that never stopped. With 7 examples, batch size 1 and 2 ranks::

        permutation of epoch 0   3 6 | 0 2 | 5 1 | 4       step 0: rank 0 gets [3], rank 1 gets [6]
        permutation of epoch 1   4 0 | 6 3 | 1 2 | 5       step 3: rank 0 gets [4], rank 1 gets [0]

    length: examples in the data set. batch_size: questions per step and rank. start: the first step. Raises UserError
    if the data set is smaller than one step.
    """

    length: int
    batch_size: int
    seed: int
    start: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        step = self.batch_size * self.world_size
        self.steps_per_epoch = self.length // step
        if self.steps_per_epoch == 0:
            raise UserError(
                f"the training set has {self.length} examples, but one step takes {step} "
                f"(batch_size {self.batch_size} x {self.world_size} ranks); lower data.batch_size or use more data"
            )

    def batch(self, step: int) -> list[int]:
        """The indices of this rank's batch at ``step``."""
        return self._share(self._of_all_ranks(step), 0)

    def further(self, step: int, count: int) -> Iterator[list[int]]:
        """``count`` more batches of this rank at ``step``, which leave the order of the others as it is.

        They are drawn at random, keyed by (seed, step), from the examples that no rank has in its batch of this step.
        No example comes twice; where a small data set runs out of them, batches are smaller, or empty.
        """
        own = set(self._of_all_ranks(step))
        random, most = Random(f"further/{self.seed}/{step}"), min(self.length, len(own) * (count + 1))
        left = [index for index in random.sample(range(self.length), most) if index not in own]
        return (self._share(left, number) for number in range(count))

    def _of_all_ranks(self, step: int) -> list[int]:
        epoch, within = divmod(step, self.steps_per_epoch)
        size = self.batch_size * self.world_size
        return _permutation(self.seed, epoch, self.length)[within * size : (within + 1) * size]

    def _share(self, indices: list[int], number: int) -> list[int]:
        """This rank's part of the batch with this number, when batches are dealt out rank by rank."""
        first = (number * self.world_size + self.rank) * self.batch_size
        return indices[first : first + self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.batch, count(self.start))


@lru_cache(maxsize=1)
def _permutation(seed: int, epoch: int, length: int) -> list[int]:
    order = list(range(length))
    Random(f"order/{seed}/{epoch}").shuffle(order)
    return order


class LoupeDataModule(lightning.LightningDataModule):
    """Yields ``list[Example]``, never tensors: pictures are opened where they are used.

    train, val, test: map-style data sets of :class:`Example`, or None for a split that does not exist.
    batch_size: questions per training step and rank. eval_batch_size: questions per evaluation batch and rank.
    seed: determines the training order.

    The Trainer needs ``use_distributed_sampler=False``, because this class deals each rank its share, and its global
    step must count batches, because a resumed run starts at that batch.
    """

    def __init__(
        self,
        train: Questions | None,
        val: Questions | None,
        test: Questions | None,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.train, self.val, self.test = train, val, test
        self.batch_size = require_int("data.batch_size", batch_size, 1)
        self.eval_batch_size = require_int("data.eval_batch_size", eval_batch_size, 1)
        self.seed = require_int("seed", seed, 0)
        self.num_workers = require_int("data.num_workers", num_workers, 0, MOST_THREADS)

    def train_dataloader(self) -> DataLoader[list[Example]]:
        """An endless loader. With a trainer attached, it starts at the trainer's global step."""
        train = self._training()
        return self._loader(train, self._sampler(train, self.trainer.global_step if self.trainer else 0))

    def further(self, step: int, count: int) -> Iterator[list[Example]]:
        """``count`` more batches of training examples at ``step``, for dynamic sampling (``StepSampler.further``)."""
        train = self._training()
        return ([train[index] for index in batch] for batch in self._sampler(train, step).further(step, count))

    def val_dataloader(self) -> DataLoader[list[Example]] | list:
        """Every ``world_size``-th example, in order; no loaders if there is no validation split."""
        return [] if self.val is None else self._in_order(self.val)

    def test_dataloader(self) -> DataLoader[list[Example]]:
        """Every ``world_size``-th example, in order."""
        if self.test is None:
            raise UserError("this data set has no test split; evaluate another with data=")
        return self._in_order(self.test)

    def transfer_batch_to_device(self, batch: list[Example], device: object, dataloader_idx: int) -> list[Example]:
        """The batch unchanged: Lightning would look for tensors inside it and fail on frozen records."""
        return batch

    def _training(self) -> Questions:
        if self.train is None:
            raise UserError("this data set has no training split; use it for evaluation, or choose another with data=")
        return self.train

    def _sampler(self, train: Questions, start: int) -> StepSampler:
        return StepSampler(len(train), self.batch_size, self.seed, start, *self._rank())

    def _in_order(self, questions: Questions) -> DataLoader[list[Example]]:
        rank, world_size = self._rank()
        share, size = range(rank, len(questions), world_size), self.eval_batch_size
        # An empty share becomes one empty batch: without a batch, Lightning skips the evaluation, where ranks meet.
        batches = [list(share[i : i + size]) for i in range(0, len(share), size)] or [[]]
        return self._loader(questions, batches)

    def _loader(self, questions: Any, batches: Iterable[list[int]]) -> DataLoader[list[Example]]:
        # A DataLoader draws a seed whenever it is iterated. It draws from a separate generator, so that the state of
        # the global one, which a checkpoint restores, does not depend on how often the run was resumed.
        return DataLoader(
            questions, batch_sampler=batches, collate_fn=list, num_workers=self.num_workers, generator=torch.Generator()
        )

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


none_datamodule = partial(LoupeDataModule, None, None, None)
"""No questions at all (``data=none``)."""
