"""A signal in any phase of a run: it says how to go on, and what goes on ends as if nothing had happened."""

import signal
from functools import partial

import pytest
from helpers.faults import At, Job, assert_same, assert_whole, signal_self

pytestmark = pytest.mark.slow
PHASES = {
    "validation before training": ("loupe.grpo.module:GRPOModule.validation_step", 1),
    "evaluation before training": ("loupe.grpo.module:GRPOModule.test_step", 1),
    "step": ("loupe.grpo.module:GRPOModule.optimize", 2),
    "validation": ("loupe.grpo.module:GRPOModule.validation_step", 2),
    "checkpoint": ("torch:save", 2),
    "evaluation after training": ("loupe.grpo.module:GRPOModule.test_step", 2),
    "model": ("loupe.runs.run:save_policy", 1),
    "summary": ("loupe.runs.run:write_card", 1),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    job = Job("train", tmp_path_factory.mktemp("whole") / "run")
    job.finish()
    return job.folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase(whole, tmp_path, phase, number):
    job = Job("train", tmp_path / "run")
    assert job.run(At(*PHASES[phase], partial(signal_self, number))) == 1
    told = job.output.read_text()
    assert "stopped" in told and "Traceback" not in told
    assert ("to resume: python src/train.py" in told) == (job.folder / "checkpoints" / "last.ckpt").exists(), told
    assert_whole(job.folder)
    job.finish()
    assert_same(job.folder, whole)
