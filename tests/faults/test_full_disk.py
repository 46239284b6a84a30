"""A disk that is full from some write on, or for files of some size: with room again, the job goes on unharmed."""

from functools import partial
from pathlib import Path

import pytest
from helpers.faults import AtChange, Job, assert_same, assert_whole, changes, limit_files

pytestmark = pytest.mark.slow
PAGE = "report.html"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    jobs = {entry: Job(entry, root / entry) for entry in ("train", "evaluate")}
    for job in jobs.values():
        assert job.run(AtChange(job.folder)) == 0, job.output.read_text()
    return {entry: job.folder for entry, job in jobs.items()}


def goes_on(job: Job, fault, expected: Path) -> None:
    assert job.run(fault) == 1, job.output.read_text()
    assert_whole(job.folder)
    job.finish()
    assert_same(job.folder, expected)


@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_from_the_first_write_of_each_file_on(whole, tmp_path, entry):
    made = changes(whole[entry])
    for at, change in enumerate(made):
        if change[0] == "write" and change not in made[:at] and not change[1].startswith(PAGE):
            job = Job(entry, tmp_path / str(at))
            goes_on(job, AtChange(job.folder, at + 1, torn=True, full=True), whole[entry])


@pytest.mark.parametrize("entry", ["train", "evaluate"])
def test_without_room_for_its_page_a_job_ends_well_and_says_so(whole, tmp_path, entry):
    at = next(i for i, (kind, name) in enumerate(changes(whole[entry])) if kind == "write" and name.startswith(PAGE))
    job = Job(entry, tmp_path / "run")
    assert job.run(AtChange(job.folder, at + 1, torn=True, full=True)) == 0
    assert f"no page: cannot write {job.folder}/report.html: No space left on device" in job.output.read_text()
    assert_same(job.folder, whole[entry])


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("train", "config.yaml"),
        ("train", "trajectories.jsonl"),
        ("train", "advantages.png"),
        ("train", "model/model.safetensors"),
        ("train", "checkpoints/last.ckpt"),
        ("evaluate", "answers.jsonl"),
        ("evaluate", "answers.parquet"),
    ],
)
def test_in_the_middle_of_a_file(whole, tmp_path, entry, name):
    """Or of another one that is as large and is written before it."""
    size = (whole[entry] / name).stat().st_size
    goes_on(Job(entry, tmp_path / "run"), partial(limit_files, size - 1), whole[entry])
