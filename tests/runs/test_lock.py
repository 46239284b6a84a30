import fcntl
import os
import subprocess
import sys

import pytest

from loupe.errors import UserError
from loupe.runs.lock import LOCK, locked

HOLD = """
import pathlib, sys
from loupe.runs.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], env=environment, **pipes)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_job_is_refused_in_one_line_until_the_first_is_killed(holder, tmp_path):
    expected = rf"in use by process {holder.pid} on .* since 20.*; choose another folder"
    with pytest.raises(UserError, match=expected), locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()


def test_it_is_free_again_after_the_job_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="bug"), locked(tmp_path):
            raise ValueError("bug")
    assert (tmp_path / LOCK).read_text() == ""


def test_without_locks_the_job_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path):
        pass
    assert "no lock (Operation not supported); make sure that no other job writes there" in caplog.text
