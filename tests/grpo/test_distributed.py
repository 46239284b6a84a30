"""Two processes (gloo, on CPUs) do what one process with all the questions does, and stop together."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from conftest import MIXED, examples, scripted
from helpers.commands import ROOT, SMALL, VOWELS, lines, run
from helpers.ranks import CASES, SHARDED, make_trainer, process, take_steps
from helpers.steps import make_module, score, weights
from safetensors.torch import load_file

from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.metrics.intervals import flat
from loupe.models import tiny


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of the two processes, and the results of each."""
    folder = tmp_path_factory.mktemp("two")
    policy = Policy(*tiny.build(seed=0))
    groups = scripted(policy, [MIXED[i] for i in (0, 1, 2, 4)], count=4, max_new_tokens=60)
    score(make_module(policy, folder), groups)
    torch.save(groups, folder / "groups.pt")
    multiprocessing.set_forkserver_preload(["lightning.pytorch", "peft", "transformers"])  # imported once, not twice
    torch.multiprocessing.start_processes(process, args=(folder,), nprocs=2, start_method="forkserver")
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


@pytest.mark.parametrize("case", SHARDED)
def test_shards_take_the_step_of_one_process_with_whole_weights(two, case):
    folder, results = two
    first, second = (result["sharded"][case] for result in results)
    groups = torch.load(folder / "groups.pt", weights_only=False)
    alone = take_steps(case, groups, folder)
    for name, expected in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        assert torch.allclose(first["weights"][name], expected, rtol=0, atol=1e-5), name
    assert first["report"] == second["report"] == pytest.approx(alone["report"], rel=1e-5, abs=1e-5)


def test_shards_resume_and_end_with_the_weights_of_an_uninterrupted_run_without(two):
    _, results = two
    for name, expected in results[0]["trained"]["weights"].items():
        ended = [result["trained in parts"][name] for result in results]
        assert torch.equal(*ended) and ended[0].dtype == expected.dtype
        assert torch.allclose(ended[0], expected, rtol=0, atol=1e-6), name


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


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["ddp", "zero"])
def test_the_command_with_two_processes(tmp_path, trainer):
    """Interrupted on one rank, and resumed: one folder, and the figures of one process with all the questions."""
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    size = ["data.n_val=5", "data.n_test=5", "trainer.max_steps=3", "trainer.val_check_interval=3"]
    options = [*VOWELS, *size, "algorithm.optimizer.lr=0.01"]
    run(alone, *options, "data.batch_size=4", drawn=True)
    options += [f"trainer={trainer}", "trainer.devices=2", "trainer.accelerator=cpu", "logger=none"]
    options += ["reward.terms.dense=vowel_terms.vowels_and_sigterm"]
    # The second rank scores 2 answers of validation, 2 of the test, 6 in the first step, and then comes the second.
    stopped = start(*options, f"paths.output_dir={pair}", SIGNAL_AT=str(2 + 2 + 6 + 1))
    _, said = stopped.communicate(timeout=200)
    assert stopped.returncode == 1, said
    assert said.count("stopped after step 2; to resume: python src/train.py") == 1
    resumed = [start_as_srun_does(rank, *options, f"resume={pair}") for rank in (0, 1)]
    (first, errors), (second, _) = (process.communicate(timeout=200) for process in resumed)
    assert [process.returncode for process in resumed] == [0, 0], errors
    assert "held-out test" in first and not second
    changes = {"diff-1.patch"} if (pair / "diff.patch").exists() else set()  # uncommitted, of the resumed part
    more = {".hydra", "train.log", "parts.jsonl", "report.html"} | changes  # of the command
    assert {path.name for path in pair.iterdir()} == {path.name for path in alone.iterdir()} | more
    assert len(list(tmp_path.iterdir())) == 2
    rows, expected = lines(pair / "metrics.jsonl"), lines(alone / "metrics.jsonl")
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [0, 1, 2, 3, 3]
    for row, single in zip(rows, expected, strict=True):
        assert numbers(row) == pytest.approx(numbers(single), abs=1e-4)
        assert [row.get(key) for key in ("n/all", "val/n/all")] == [single.get(key) for key in ("n/all", "val/n/all")]
    assert [row["step"] for row in lines(pair / "timing.jsonl")] == [1, 2, 3]
    told = [[(row["split"], row["id"], row["turns"]) for row in lines(f / "trajectories.jsonl")] for f in (pair, alone)]
    assert told[0] == told[1]
    models = [load_file(folder / "model" / "model.safetensors") for folder in (pair, alone)]
    assert models[0].keys() == models[1].keys()
    assert all(torch.allclose(models[0][name], models[1][name], rtol=0, atol=2e-4) for name in models[0])
    for when in ("before", "after"):
        figures = [flat(json.loads((folder / "summary.json").read_text())[when]) for folder in (pair, alone)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-4) and figures[0]["n/all"] == 5


def numbers(row):
    """The row with its histograms as counts."""
    plain = {key: value for key, value in row.items() if not isinstance(value, dict)}
    return plain | {f"{k}/{i}": n for k, v in row.items() if isinstance(v, dict) for i, n in enumerate(v["counts"])}
