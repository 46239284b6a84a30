"""Two processes (gloo, on CPUs) do what one process with all the questions does, and stop together."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import lightning
import pytest
import torch
import torch.distributed as dist
from conftest import ANSWER, MIXED, examples, make_rollout, scripted
from earned import vowels
from lightning.pytorch.utilities import rank_zero_only
from test_module import Alone, make_module, score, weights
from test_train import ROOT, SMALL, VOWELS, lines, run

from loupe.data.datamodule import LoupeDataModule
from loupe.engine.policy import Policy
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.grpo.losses import DAPO, GRPO, GSPO, DrGRPO
from loupe.logs.jsonl import JsonlLogger
from loupe.metrics.intervals import flat
from loupe.models import tiny
from loupe.rewards.composite import CompositeReward

CASES = {
    "grpo": (GRPO(), 3),
    "dr_grpo": (DrGRPO(), 3),
    "dapo": (DAPO(), 3),
    "gspo": (GSPO(), 3),
    "kl": (GRPO(beta=0.1), 3),
    "empty": (GRPO(), 4),
    "no signal": (GRPO(), 2),
}
"""For each case the loss, and how many of the four groups the first rank gets."""


def take_steps(case, groups, folder):
    """Two inner epochs on these groups, with the norm clipped: the weights after it, and what is reported."""
    policy = Policy(*tiny.build(seed=0))
    module = make_module(
        policy,
        folder,
        loss=CASES[case][0],
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.01, eps=1e-3, weight_decay=0.1),
        inner_epochs=2,
        max_grad_norm=0.5,
        microbatch_tokens=800,
    )
    if case == "no signal":
        for trajectory in (t for group in groups for t in group.trajectories):
            trajectory.advantage = 0.0
    Alone(module)
    report = module.optimize(groups)
    return {"weights": weights(policy), "report": report, "had_signal": module.had_signal}


def replayed(rank, folder):
    """Each case of the same groups, dealt out over the ranks."""
    results = {}
    for case, (_, first) in CASES.items():
        groups = torch.load(folder / "groups.pt", weights_only=False)
        results[case] = take_steps(case, groups[:first] if rank == 0 else groups[first:], folder)
    return results


def make_trainer(folder, steps):
    return lightning.Trainer(
        strategy=distributed.Ranks(threads=1),
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
    policy = Policy(*tiny.build(seed=rank))  # unequal weights: those of the first rank are to be used
    script = [[ANSWER], ["<answer>1</answer>"]] if rank == 0 else [MIXED[1], MIXED[4]]
    rollout = make_rollout(policy, ScriptedRollout, script=script, max_new_tokens=60)
    module = make_module(policy, folder, rollout=rollout, group_size=2, reward=CompositeReward({"v": vowels}, {"v": 1}))
    good, *heldout = (dataclasses.replace(example, image=encoded(example)) for example in examples(5))
    bad = dataclasses.replace(good, image=folder / "missing.jpg")
    trainer = make_trainer(folder, 3)
    trainer.fit(module, data([good, bad], heldout[:3], None))
    validated = [(group.example.id, bool(group.example.image)) for group in module.evaluated]
    trainer.test(module, data(None, None, heldout[3:]), verbose=False)
    tested = [group.example.id for group in module.evaluated]
    module.total_steps = 20
    ends = end_of(make_trainer(folder / "unreadable", 20).fit, module, data([bad, bad], None, None))
    return {"weights": weights(policy), "validated": validated, "tested": tested, "ends": ends}


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
    results["trained"] = trained(rank, folder)
    torch.save(results, folder / f"results_{rank}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of the two processes, and the results of each."""
    folder = tmp_path_factory.mktemp("two")
    policy = Policy(*tiny.build(seed=0))
    groups = scripted(policy, [MIXED[i] for i in (0, 1, 2, 4)], count=4, max_new_tokens=60)
    score(make_module(policy, folder), groups)
    torch.save(groups, folder / "groups.pt")
    torch.multiprocessing.spawn(process, args=(folder,), nprocs=2)
    return folder, [torch.load(folder / f"results_{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_take_the_step_of_one_process_with_all_groups(two, case):
    folder, results = two
    first, second = (result["replayed"][case] for result in results)
    alone = take_steps(case, torch.load(folder / "groups.pt", weights_only=False), folder)
    start = weights(Policy(*tiny.build(seed=0)))
    for name, expected in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        assert torch.allclose(first["weights"][name], expected, rtol=0, atol=1e-6), name
    assert first["report"] == second["report"] == pytest.approx(alone["report"], abs=1e-5)
    assert first["had_signal"] == second["had_signal"] == (case != "no signal")
    moved = max((expected - start[name]).abs().max() for name, expected in alone["weights"].items())
    assert moved > 1e-3 if case != "no signal" else moved == 0


def test_ranks_with_other_numbers_of_turns_and_without_a_row_stay_together(two):
    folder, (first, second) = two
    start = weights(Policy(*tiny.build(seed=0)))
    ended = [result["trained"]["weights"] for result in (first, second)]
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in start)
    assert not all(torch.equal(ended[0][name], start[name]) for name in start)
    steps = [row for row in lines(folder / "metrics.jsonl") if "loss" in row]
    assert [(row["step"], row["n/all"], row["data/skipped"]) for row in steps] == [(1, 2, 1), (2, 2, 1), (3, 2, 1)]
    assert {row["length/turns"] for row in steps} == {1, 2}  # of the first rank and of the second


def test_each_heldout_question_counts_once(two):
    folder, results = two
    _, *heldout = (example.id for example in examples(5))
    for rank, result in enumerate(results):
        own = [index % 2 == rank for index in range(3)]  # encoded pictures are not sent around
        assert result["trained"]["validated"] == list(zip(heldout[:3], own, strict=True))
        assert result["trained"]["tested"] == heldout[3:]
    assert [row["val/n/all"] for row in lines(folder / "metrics.jsonl") if "val/n/all" in row] == [3]


def test_ranks_stop_together_and_the_first_says_why(two):
    folder, (first, second) = two
    assert first["non_finite"][0] == "NonFiniteError"
    assert first["trained"]["ends"][0] == "UserError" and "10 batches in a row" in first["trained"]["ends"][1]
    assert second["non_finite"] == second["trained"]["ends"] == ("SystemExit", "0")
    assert {path.name for path in folder.glob("nonfinite*")} == {"nonfinite_batch.pt", "nonfinite_batch_1.pt"}


def test_what_cannot_use_several_devices_refuses_them(tmp_path):
    trainer = make_trainer(tmp_path, 1)
    distributed.check_devices(trainer)
    with pytest.raises(UserError, match=r"2 devices: this job uses only one; use trainer\.devices=1"):
        distributed.check_devices(trainer, one_device=True)
    with pytest.raises(UserError, match=r"a sweep \(-m\) over several devices needs hydra/launcher=submitit_slurm"):
        distributed.check_devices(trainer, in_sweep=True)


def start(*overrides, **variables):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")} | variables
    command = [sys.executable, "src/train.py", *SMALL, *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def start_as_srun_does(rank, *overrides):
    names = {"JOB_ID": 10000 + os.getpid(), "JOB_NAME": "loupe", "NODELIST": "127.0.0.1", "NODEID": 0}
    names |= {"NTASKS": 2, "NTASKS_PER_NODE": 2, "PROCID": rank, "LOCALID": rank}
    return start(*overrides, **{f"SLURM_{name}": str(value) for name, value in names.items()})


def test_the_command_with_two_processes(tmp_path):
    """Interrupted on one rank, and resumed: one folder, and the figures of one process with all the questions."""
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    size = ["data.n_val=5", "data.n_test=5", "trainer.max_steps=3", "trainer.val_check_interval=3"]
    options = [*VOWELS, *size, "algorithm.optimizer.lr=0.01"]
    run(alone, *options, "data.batch_size=4")
    options += ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "logger=none"]
    options += ["reward.terms.dense.path=earned.vowels_and_sigterm"]
    # The second rank scores 2 answers of validation, 2 of the test, 6 in the first step, and then comes the second.
    stopped = start(*options, f"paths.output_dir={pair}", SIGNAL_AT=str(2 + 2 + 6 + 1))
    _, said = stopped.communicate(timeout=200)
    assert stopped.returncode == 1, said
    assert said.count("stopped after step 2; to resume: python src/train.py") == 1
    resumed = [start_as_srun_does(rank, *options, f"resume={pair}") for rank in (0, 1)]
    (first, errors), (second, _) = (process.communicate(timeout=200) for process in resumed)
    assert [process.returncode for process in resumed] == [0, 0], errors
    assert "held-out test" in first and not second
    assert {path.name for path in pair.iterdir()} == {path.name for path in alone.iterdir()} | {".hydra", "train.log"}
    assert len(list(tmp_path.iterdir())) == 2
    rows, expected = lines(pair / "metrics.jsonl"), lines(alone / "metrics.jsonl")
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [0, 1, 2, 3, 3]
    for row, single in zip(rows, expected, strict=True):
        assert numbers(row) == pytest.approx(numbers(single), abs=1e-4)
        assert [row.get(key) for key in ("n/all", "val/n/all")] == [single.get(key) for key in ("n/all", "val/n/all")]
    assert [row["step"] for row in lines(pair / "timing.jsonl")] == [1, 2, 3]
    told = [[(row["split"], row["id"], row["turns"]) for row in lines(f / "trajectories.jsonl")] for f in (pair, alone)]
    assert told[0] == told[1]
    for when in ("before", "after"):
        figures = [flat(json.loads((folder / "summary.json").read_text())[when]) for folder in (pair, alone)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-4) and figures[0]["n/all"] == 5


def numbers(row):
    """The row with its histograms as counts."""
    plain = {key: value for key, value in row.items() if not isinstance(value, dict)}
    return plain | {f"{k}/{i}": n for k, v in row.items() if isinstance(v, dict) for i, n in enumerate(v["counts"])}
