"""Requests wait here for the policy, which answers one at a time."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from loupe.serving.requests import Asked, Refused


class Waiting:
    """Questions put by any thread, answered in order by the one that calls :meth:`work`.

    That should be the main thread: only there do Ctrl-C and ``errors.time_limit`` interrupt an answer.
    """

    def __init__(self, most: int):
        self._jobs: queue.Queue[tuple[Future[dict], Asked] | None] = queue.Queue()
        self._most, self._closed = most, False

    def put(self, asked: Asked) -> Future[dict]:
        """The answer to come. Raises Refused if too many questions wait, or nobody will answer."""
        if self._closed:
            raise _stopping()
        if self._jobs.qsize() >= self._most:
            raise Refused(f"{self._most} requests are waiting (serve.max_waiting); try again later", 429)
        future: Future[dict] = Future()
        self._jobs.put((future, asked))
        return future

    def work(self, answer: Callable[[Asked], dict]) -> None:
        """Answer questions until :meth:`close` is called. What ``answer`` raises goes to whoever put the question."""
        while job := self._next():
            future, asked = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = answer(asked)
            except Exception as error:  # also a bug: it is logged with its traceback where the request ends
                future.set_exception(error)
            except BaseException:
                future.set_exception(_stopping())
                raise
            else:
                future.set_result(result)

    def _next(self) -> tuple[Future[dict], Asked] | None:
        while True:
            with suppress(queue.Empty):
                return self._jobs.get(timeout=1)  # a wait without end would miss a Ctrl-C that comes just before it

    def close(self) -> None:
        """Refuse the questions that wait and those to come; :meth:`work` returns."""
        self._closed = True
        with suppress(queue.Empty):
            while job := self._jobs.get_nowait():
                if job[0].set_running_or_notify_cancel():
                    job[0].set_exception(_stopping())
        self._jobs.put(None)


def _stopping() -> Refused:
    return Refused("the server is stopping", 503)
