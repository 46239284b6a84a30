"""One job per folder: a lock that names its holder, and that the system releases when the process ends in any way.

It is flock(2), so it holds between processes of one machine, and between machines on file systems that share such locks
(NFS 4, Lustre with ``-o flock``). Where a file system has no locks, the job goes on without one and says so.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loupe.errors import UserError
from loupe.grpo import distributed

LOG = logging.getLogger(__name__)
LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``. Raises UserError, naming host, pid and time, if another job holds it."""
    if not distributed.is_main():  # the other processes of a job that holds the lock
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"paths.output_dir={folder}: in use by {_holder(folder / LOCK)}; choose another folder"
            ) from error
        except OSError as error:
            LOG.warning("%s: no lock (%s); make sure that no other job writes there", folder, error.strerror)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%F %T")}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # the file stays: removing it would let two jobs hold locks on files of the same name


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
