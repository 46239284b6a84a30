import os
import signal
import subprocess
import sys

import pytest

from loupe.atomic import remove_partial, replacing


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    return tmp_path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_and_a_folder_are_replaced_as_a_whole(folder):
    with replacing(folder / "file") as partial:
        partial.write_text("new")
        assert (folder / "file").read_text() == "old"
    with replacing(folder / "model") as partial:
        partial.mkdir()
        (partial / "other").write_text("new")
        assert (folder / "model" / "weights").exists()
    with replacing(folder / "first") as partial:
        partial.write_text("new")
    assert contents(folder) == {"file": "new", "model/other": "new", "first": "new"}


@pytest.mark.parametrize("name", ["file", "model"])
def test_after_an_error_the_old_content_is_there(folder, name):
    before = contents(folder)
    with pytest.raises(OSError, match="full"), replacing(folder / name) as partial:
        partial.write_text("half")
        raise OSError("full")
    assert contents(folder) == before


KILLED = """
import os, pathlib, signal, sys
from loupe import atomic
folder, name, at = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0
def counted(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
Path, shutil = pathlib.Path, atomic.shutil
for owner, method in [(Path, "rename"), (Path, "replace"), (atomic, "_sync"), (shutil, "rmtree")]:
    setattr(owner, method, counted(getattr(owner, method)))
with atomic.replacing(folder / name) as partial:
    if name == "model":
        partial.mkdir()
        partial /= "weights"
    partial.write_text("new")
"""


@pytest.mark.parametrize("name", ["file", "model"])
def test_killed_at_any_point_it_leaves_the_old_or_the_new_content(folder, name):
    ends = set()
    for at in range(1, 9):
        with replacing(folder / name) as partial:
            if name == "model":
                partial.mkdir()
                partial = partial / "weights"
            partial.write_text("old")
        process = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), name, str(at)], check=False, env=environment()
        )
        remove_partial(folder)
        found = contents(folder)
        assert found.keys() == {"file", "model/weights"}, at
        ends.add((process.returncode, found["file" if name == "file" else "model/weights"]))
    assert ends == {(-signal.SIGKILL, "old"), (-signal.SIGKILL, "new"), (0, "new")}


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
