"""Batches: the training order survives an interruption, and ranks share the work."""

from itertools import chain, islice
from pathlib import Path

import lightning
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from loupe.data.datamodule import LoupeDataModule, StepSampler
from loupe.data.signs import Signs, signs_datamodule
from loupe.errors import UserError
from loupe.records import Example

SIGNS_YAML = Path(__file__).parents[2] / "conf" / "data" / "signs.yaml"


def steps(sampler: StepSampler, count: int) -> list[list[int]]:
    return list(islice(sampler, count))


def flat(batches: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def data(**changes: object) -> LoupeDataModule:
    options = dict(seed=1, heldout_seed=0, n_train=10, n_val=5, n_test=7, batch_size=2, eval_batch_size=3)
    return signs_datamodule(**{**options, **changes})


def test_the_order_of_the_scenes_has_a_seed_of_its_own():
    def first_epoch(**seeds):
        module = data(**seeds)
        return [module.train[i].id for i in flat(steps(StepSampler(10, 2, module.seed), 5))]

    alone, other, reordered = first_epoch(), first_epoch(seed=2), first_epoch(order_seed=2)
    assert first_epoch(order_seed=1) == alone
    assert sorted(reordered) == sorted(alone) and reordered != alone
    assert [name.replace("/2/", "/1/") for name in other] == reordered


class Recorder(lightning.LightningModule):
    """Takes one optimizer step per batch and records the examples of each."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[str]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: list[Example], batch_idx: int) -> None:
        self.seen.append([example.id for example in batch])
        self.manual_backward(self.weight.sum())
        self.optimizers().step()


def trainer(max_steps: int) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def test_no_repeats_within_an_epoch_and_a_new_order_each_epoch():
    batches = steps(StepSampler(length=12, batch_size=3, seed=0), 8)
    first, second = flat(batches[:4]), flat(batches[4:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert batches != steps(StepSampler(length=12, batch_size=3, seed=1), 8)


def test_the_remainder_of_an_epoch_is_dropped():
    batches = steps(StepSampler(length=11, batch_size=3, seed=0), 9)
    assert {len(batch) for batch in batches} == {3}
    assert [len(set(flat(batches[i : i + 3]))) for i in (0, 3, 6)] == [9, 9, 9]


def test_resumed_order_is_the_rest_of_the_uninterrupted_one():
    whole = steps(StepSampler(length=10, batch_size=3, seed=5), 12)
    for start in (1, 3, 7):
        assert steps(StepSampler(length=10, batch_size=3, seed=5, start=start), 12 - start) == whole[start:]


def test_ranks_share_a_step():
    one = steps(StepSampler(length=13, batch_size=4, seed=2), 3)
    ranks = [steps(StepSampler(length=13, batch_size=2, seed=2, rank=r, world_size=2), 3) for r in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == one


def test_further_batches_are_new_to_the_step_and_the_same_on_every_start():
    """Of two ranks with two questions each: 4 of 20 are asked, and 3 further draws take 12 others."""
    ranks = [StepSampler(length=20, batch_size=2, seed=2, rank=r, world_size=2) for r in range(2)]
    further = [list(sampler.further(step=3, count=3)) for sampler in ranks]
    asked = [sampler.batch(3) for sampler in ranks]
    assert [[len(batch) for batch in batches] for batches in further] == [[2] * 3] * 2
    assert len({*flat(asked), *flat(further[0]), *flat(further[1])}) == 4 + 12
    resumed = StepSampler(length=20, batch_size=2, seed=2, start=3, rank=1, world_size=2)
    assert list(resumed.further(3, 3)) == further[1]
    assert next(iter(resumed)) == asked[1]  # the order of the others is as it was
    assert list(resumed.further(4, 3)) != further[1]
    one = StepSampler(length=20, batch_size=4, seed=2)
    assert list(one.further(3, 3)) == [a + b for a, b in zip(*further, strict=True)]


def test_further_batches_end_where_the_data_ends():
    batches = list(StepSampler(length=5, batch_size=2, seed=0).further(step=0, count=3))
    assert [len(batch) for batch in batches] == [2, 1, 0]
    assert sorted(flat(batches) + StepSampler(length=5, batch_size=2, seed=0).batch(0)) == [0, 1, 2, 3, 4]


def test_further_examples():
    module = data()
    sampler = StepSampler(length=10, batch_size=2, seed=1)
    numbers = [[int(example.id.rpartition("/")[2]) for example in batch] for batch in module.further(2, 3)]
    assert numbers == list(sampler.further(2, 3))


def test_too_few_examples():
    with pytest.raises(UserError, match=r"has 7 examples, but one step takes 8 \(batch_size 4 x 2 ranks\)"):
        StepSampler(length=7, batch_size=4, seed=0, world_size=2)


def test_batches_are_lists_of_examples():
    module = data()
    batch = next(iter(module.train_dataloader()))
    assert type(batch) is list and len(batch) == 2 and all(type(item) is Example for item in batch)
    assert [[e.id for e in batch] for batch in module.val_dataloader()] == [
        ["signs/validation/0/0", "signs/validation/0/1", "signs/validation/0/2"],
        ["signs/validation/0/3", "signs/validation/0/4"],
    ]


def test_heldout_scenes_do_not_follow_the_training_seed():
    one, other = data(seed=1), data(seed=2)
    assert one.val[0] == other.val[0] and one.test[0] == other.test[0]
    assert one.train[0] != other.train[0]


def test_evaluation_deals_examples_to_ranks_in_turn():
    module = data(eval_batch_size=8)
    module.trainer = type("TwoRanks", (), {"global_rank": 1, "world_size": 2})
    (batch,) = module.test_dataloader()
    assert [example.id for example in batch] == ["signs/test/0/1", "signs/test/0/3", "signs/test/0/5"]


def test_a_rank_without_a_share_gets_an_empty_batch():
    module = data(n_val=1)
    module.trainer = type("TwoRanks", (), {"global_rank": 1, "world_size": 2})
    assert list(module.val_dataloader()) == [[]]


def test_loaders_leave_the_global_random_state_alone():
    module = data()
    before = torch.get_rng_state()
    next(iter(module.train_dataloader()))
    next(iter(module.val_dataloader()))
    assert torch.equal(before, torch.get_rng_state())


def test_missing_splits():
    module = LoupeDataModule(None, None, Signs("test", 0, 2), batch_size=2, eval_batch_size=2, seed=0)
    assert module.val_dataloader() == []
    with pytest.raises(UserError, match="no training split"):
        module.train_dataloader()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_trainer_resumes_at_the_next_batch(tmp_path, num_workers):
    whole, before, after = Recorder(), Recorder(), Recorder()
    trainer(8).fit(whole, data())
    interrupted = trainer(3)
    interrupted.fit(before, data())
    interrupted.save_checkpoint(tmp_path / "last.ckpt")
    trainer(8).fit(after, data(num_workers=num_workers), ckpt_path=tmp_path / "last.ckpt")
    assert len(whole.seen) == 8 and len(before.seen) == 3
    assert before.seen + after.seen == whole.seen


def test_config():
    config = OmegaConf.merge({"seed": 4}, {"data": OmegaConf.load(SIGNS_YAML)})
    module = instantiate(config.data, _convert_="all")
    assert (len(module.train), len(module.val), len(module.test)) == (100000, 128, 256)
    assert module.train[9].id == "signs/train/4/9"
    assert module.val[9].id == "signs/validation/0/9"
    assert (module.batch_size, module.eval_batch_size) == (16, 64)
