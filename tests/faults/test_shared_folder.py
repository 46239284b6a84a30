"""Several jobs in one folder, at the same time or one after the other."""

import shutil
import signal
from functools import partial

import pytest
from helpers.faults import At, Job, assert_same, hold, signal_self, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    job = Job("train", tmp_path_factory.mktemp("whole") / "run")
    job.finish()
    return job.folder


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_job_is_refused_and_changes_nothing(whole, tmp_path, resume):
    job, reached, go_on = Job("train", tmp_path / "run"), tmp_path / "reached", tmp_path / "go on"
    first = job.start(At("loupe.grpo.module:GRPOModule.optimize", 2, partial(hold, reached, go_on)))
    wait_for(reached)
    before, said = files(job.folder), job.output.read_text()
    assert job.run(resume=resume) == 1
    told = job.output.read_text().removeprefix(said)
    assert "in use by process" in told and len(told.strip().splitlines()) == 1, told
    assert files(job.folder) == before
    go_on.touch()
    first.join(60)
    assert first.exitcode == 0
    assert_same(job.folder, whole)


def files(folder):
    """Hydra records each command before it starts the job."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts)
    return {path: path.read_bytes() for path in paths}


def test_parts_of_a_run_are_one_run_to_wandb_and_another_run_is_another(whole, tmp_path):
    job, wandb = Job("train", tmp_path / "run"), ["logger=wandb", "logger.mode=offline"]
    stop = At("loupe.grpo.module:GRPOModule.optimize", 2, partial(signal_self, signal.SIGKILL))
    assert job.run(stop, *wandb) == -signal.SIGKILL
    copy = Job("train", shutil.copytree(job.folder, tmp_path / "copy", symlinks=True))
    for part in (job, copy):
        part.finish(*wandb)
        assert (part.folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    (of_the_run,) = {path.stem for part in (job, copy) for path in wandb_files(part.folder)}
    job.finish(*wandb, resume=False)
    assert {path.stem for path in wandb_files(job.folder / "previous-1")} == {of_the_run}
    (new,) = wandb_files(job.folder)
    assert new.stem != of_the_run


def wandb_files(folder):
    return list(folder.glob("wandb/offline-run-*/*.wandb"))
