"""What runs in vLLM's own processes: they end with the run, however that ends."""

import os
import time
from threading import Thread

SECONDS = 1.0
"""Between two looks at the run's process."""


class EndsWithRun:
    """Extends vLLM's worker (``worker_extension_cls``). When a worker ends, so does its engine."""

    def end_with(self, pid: int) -> None:
        """End this process as soon as process ``pid`` has ended, which may have been killed."""
        Thread(target=_watch, args=[pid], name="loupe_watch", daemon=True).start()


def _watch(pid: int) -> None:
    while _alive(pid):
        time.sleep(SECONDS)
    os._exit(1)  # sys.exit would end the thread alone


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
