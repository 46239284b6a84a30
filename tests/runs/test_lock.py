import fcntl
import multiprocessing
import os
import time

import pytest

from loupe.errors import UserError
from loupe.runs.lock import LOCK, locked


def hold(folder, held):
    with locked(folder):
        held.set()
        time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    system = multiprocessing.get_context("fork")  # which imports nothing again
    process = system.Process(target=hold, args=(tmp_path, held := system.Event()))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_second_job_is_refused_in_one_line_until_the_first_is_killed(holder, tmp_path):
    expected = rf"in use by process {holder.pid} on .* since 20.*; choose another folder"
    with pytest.raises(UserError, match=expected), locked(tmp_path):
        pass
    holder.kill()
    holder.join()
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
