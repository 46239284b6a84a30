"""kill -9 at every change that a job makes to its folder: it resumes, and ends as if nothing had happened."""

import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from helpers.faults import AtChange, Job, assert_same, assert_whole, changes, content

pytestmark = pytest.mark.slow
SHARED = {"mine": "evaluate", "pretrain": "train"}
"""Entries that make most of their changes by the code of another."""


def undisturbed(entry: str, folder: Path) -> Path:
    job = Job(entry, folder)
    assert job.run(AtChange(folder)) == 0, job.output.read_text()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    return {entry: undisturbed(entry, root / entry) for entry in ("train", "evaluate", "mine", "pretrain")}


def points(made: list[tuple[str, str]], known: Iterable = ()) -> Iterator[tuple[int, bool]]:
    """Before the first and the last of equal changes, and in the middle of it where something is written.

    Not before an fsync: a killed process leaves the same as before the rename that follows it.
    """
    for at, change in enumerate(made):
        if change[0] != "fsync" and change not in known and (change not in made[:at] or change not in made[at + 1 :]):
            yield at + 1, False
            if change[0] == "write":
                yield at + 1, True


def killed(job: Job, at: int, torn: bool, resume: bool = True) -> None:
    """The job is killed, and leaves nothing that only looks complete."""
    assert job.run(AtChange(job.folder, at, torn), resume=resume) == -signal.SIGKILL, job.output.read_text()
    assert_whole(job.folder)


@pytest.mark.parametrize("entry", ["train", "evaluate", "mine", "pretrain"])
def test_at_every_change(whole, tmp_path, entry):
    known = changes(whole[SHARED[entry]]) if entry in SHARED else ()
    for at, torn in points(changes(whole[entry]), known):
        job = Job(entry, tmp_path / f"{at}-{torn}")
        killed(job, at, torn)
        job.finish()
        assert_same(job.folder, whole[entry])
        shutil.rmtree(job.folder)


@pytest.fixture(scope="module")
def half(tmp_path_factory, whole) -> Path:
    """A run that was killed as it logged the step after its first checkpoint."""
    job = Job("train", tmp_path_factory.mktemp("half") / "run")
    made = changes(whole["train"])
    saved = made.index(("os.rename", "checkpoints/last.ckpt.partial"))
    killed(job, saved + 2 + made[saved + 1 :].index(("write", "timing.jsonl")), True)
    return job.folder


def test_at_every_change_of_a_resumed_copy(half, whole, tmp_path):
    """Up to its first checkpoint."""
    first = Job("train", shutil.copytree(half, tmp_path / "first"))
    assert first.run(AtChange(first.folder)) == 0, first.output.read_text()
    assert_same(first.folder, whole["train"])
    made = changes(first.folder)
    for at, torn in points(made[: made.index(("fsync", "checkpoints")) + 1]):
        job = Job("train", shutil.copytree(half, tmp_path / f"{at}-{torn}"))
        killed(job, at, torn)
        job.finish()
        assert_same(job.folder, whole["train"])
        shutil.rmtree(job.folder)


def test_a_moved_run_resumes(half, whole, tmp_path):
    job = Job("train", shutil.move(shutil.copytree(half, tmp_path / "copy"), tmp_path / "moved"))
    job.finish()
    assert_same(job.folder, whole["train"])


def test_at_every_change_while_an_earlier_run_is_set_aside(whole, tmp_path):
    """It stays in one piece, and nothing of it gets into the new run."""

    def over_the_whole(name):
        return Job("train", shutil.copytree(whole["train"], tmp_path / name))

    first = over_the_whole("first")
    assert first.run(AtChange(first.folder), resume=False) == 0, first.output.read_text()
    made = changes(first.folder)
    for at, torn in points(made[: made.index(("write", "metrics.jsonl"))]):
        job = over_the_whole(f"{at}-{torn}")
        killed(job, at, torn, resume=False)
        job.finish(resume=False)
        assert_same(job.folder, whole["train"])
        aside, earlier = content(job.folder / "previous-1"), content(whole["train"])
        assert aside.keys() == earlier.keys()
        assert all(aside[name] == earlier[name] for name in ("metrics.jsonl", "checkpoints/last.ckpt"))
        assert [path.name for path in job.folder.glob("previous*")] == ["previous-1"]
        shutil.rmtree(job.folder)
