"""What runs in vLLM's own processes: they end with the run, however that ends."""

import os
import time
from contextlib import suppress
from threading import Thread

import psutil

SECONDS = 1.0
"""Between two looks at the run's process."""


class EndsWithRun:
    """Extends vLLM's worker (``worker_extension_cls``). When a worker ends, so does its engine."""

    def end_with(self, pid: int) -> None:
        """End this process as soon as process ``pid`` has ended, which may have been killed."""
        Thread(target=_watch, args=[pid], name="loupe_watch", daemon=True).start()


def _watch(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # a zombie has ended, too
            time.sleep(SECONDS)
    os._exit(1)  # sys.exit would end the thread alone
