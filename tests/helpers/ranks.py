"""What each of the two processes (gloo, on CPUs) of tests/grpo/test_distributed.py does.

It lives here because a spawned process can import helpers, but not a test file.
"""

import dataclasses
import io
import os

import lightning
import torch
import torch.distributed as dist
from conftest import ANSWER, MIXED, examples, make_rollout
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities import rank_zero_only
from vowel_terms import vowels

from helpers.steps import Alone, make_module, weights
from loupe.data.datamodule import LoupeDataModule
from loupe.engine.policy import Policy
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.grpo.advantages import batch_std
from loupe.grpo.losses import DAPO, GRPO, GSPO, DrGRPO
from loupe.grpo.sharding import Shards, Zero
from loupe.logs.jsonl import JsonlLogger
from loupe.models import tiny
from loupe.rewards.composite import CompositeReward

CASES = {
    "grpo": (GRPO(), 3),
    "dr_grpo": (DrGRPO(), 3),
    "dapo": (DAPO(), 3),
    "gspo": (GSPO(), 3),
    "kl": (GRPO(beta=0.1), 3),
    "entropy": (GRPO(entropy=0.1), 3),
    "batch std": (GRPO(), 3),
    "empty": (GRPO(), 4),
    "no signal": (GRPO(), 2),
}
"""For each case the loss, and how many of the four groups the first rank gets."""
SHARDED = ["kl", "empty", "no signal"]
"""The cases that are repeated with shards."""


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, eps=1e-3, weight_decay=0.1)


def take_steps(case, groups, folder, shards=False):
    """Two inner epochs on these groups, with the norm clipped: the weights after it, and what is reported."""
    policy = Policy(*tiny.build(seed=0))
    module = make_module(
        policy,
        folder,
        loss=CASES[case][0],
        optimizer=adamw,
        inner_epochs=2,
        max_grad_norm=0.5,
        advantage=batch_std,
        microbatch_tokens=800,
    )
    if case == "batch std":
        module.assign_advantages(groups, step=0)
    if case == "no signal":
        for trajectory in (t for group in groups for t in group.trajectories):
            trajectory.advantage = 0.0
    optimizer = Alone(module).optimizer
    if shards:
        module.shards = Shards(policy)
        module.shards.take_over([optimizer])
    report = module.optimize(groups)
    if shards:
        module.shards.dissolve()
    return {"weights": weights(policy), "report": report, "had_signal": module.had_signal}


def replayed(rank, folder, cases=CASES, **options):
    """Each case of the same groups, dealt out over the ranks."""
    results = {}
    for case in cases:
        groups, first = torch.load(folder / "groups.pt", weights_only=False), CASES[case][1]
        own = groups[:first] if rank == 0 else groups[first:]
        results[case] = take_steps(case, own, folder, **options)
    return results


def make_trainer(folder, steps, strategy=distributed.Ranks):
    return lightning.Trainer(
        strategy=strategy(threads=1),
        devices=2,
        accelerator="cpu",
        max_steps=steps,
        logger=JsonlLogger(folder),
        default_root_dir=str(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
    )


def data(train, val, test):
    return LoupeDataModule(train, val, test, batch_size=1, eval_batch_size=1, seed=0)


def encoded(example):
    file = io.BytesIO()
    example.image.render().save(file, "PNG")
    return file.getvalue()


def trained(rank, folder):
    """A run of Lightning's in which one rank calls the tool, the other does not, and at each step one has no row."""
    module = make_scripted(rank, folder)
    good, *heldout = (dataclasses.replace(example, image=encoded(example)) for example in examples(5))
    bad = dataclasses.replace(good, image=folder / "missing.jpg")
    trainer = make_trainer(folder, 3)
    trainer.fit(module, data([good, bad], heldout[:3], None))
    validated = [(group.example.id, bool(group.example.image)) for group in module.evaluated]
    trainer.test(module, data(None, None, heldout[3:]), verbose=False)
    tested = [group.example.id for group in module.evaluated]
    module.total_steps = 20
    trained = weights(module.policy)
    ends = end_of(make_trainer(folder / "unreadable", 20).fit, module, data([bad, bad], None, None))
    return {"weights": trained, "validated": validated, "tested": tested, "ends": ends}


def make_scripted(rank, folder):
    """A module whose turns are written already."""
    policy = Policy(*tiny.build(seed=rank))  # unequal weights: those of the first rank are to be used
    script = [[ANSWER], ["<answer>1</answer>"]] if rank == 0 else [MIXED[1], MIXED[4]]
    rollout = make_rollout(policy, ScriptedRollout, script=script, max_new_tokens=60)
    reward = CompositeReward({"v": vowels}, {"v": 1})
    return make_module(policy, folder, rollout=rollout, group_size=2, reward=reward, optimizer=adamw)


def trained_in_parts(rank, folder):
    """The weights after the steps of ``trained``, with shards, the last one from a checkpoint after the second."""
    good, *_ = (dataclasses.replace(example, image=encoded(example)) for example in examples(5))
    rows = [good, dataclasses.replace(good, image=folder / "missing.jpg")]
    checkpoint = folder / "part.ckpt"
    trainer = make_trainer(folder / "parts", 2, Zero)
    trainer.callbacks.append(LambdaCallback(on_train_end=lambda trainer, _: trainer.save_checkpoint(checkpoint)))
    trainer.fit(make_scripted(rank, folder), data(rows, None, None))
    module = make_scripted(rank, folder)
    make_trainer(folder / "parts", 3, Zero).fit(module, data(rows, None, None), ckpt_path=checkpoint)
    return weights(module.policy)


def non_finite(rank, folder):
    groups = torch.load(folder / "groups.pt", weights_only=False)[2 * rank : 2 * rank + 2]
    groups[0].trajectories[0].advantage *= float("nan") if rank else 1
    module = make_module(Policy(*tiny.build(seed=0)), folder)
    module._trainer = None
    Alone(module)
    return end_of(module.optimize, groups)


def end_of(action, *arguments):
    """The way in which it ends."""
    try:
        action(*arguments)
    except (UserError, SystemExit) as error:
        return type(error).__name__, str(error)


def process(rank, folder):
    """What one of the two processes does."""
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    rank_zero_only.rank = rank
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    results = {"replayed": replayed(rank, folder), "non_finite": non_finite(rank, folder)}
    results["sharded"] = replayed(rank, folder, SHARDED, shards=True)
    results |= {"trained": trained(rank, folder), "trained in parts": trained_in_parts(rank, folder)}
    torch.save(results, folder / f"results_{rank}.pt")
