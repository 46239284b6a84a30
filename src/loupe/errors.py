"""The errors that a user can cause. Each message is one line that names the thing and the fix.

Any other exception is a bug and keeps its traceback.
"""

import math
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeGuard, TypeVar

T = TypeVar("T")

MOST_THREADS = 1024
"""Of one process, and processes that it may start. Far beyond that the system ends the job without a word."""


class UserError(Exception):
    """A setting, file or input that the user can fix. Shown as one line, without a traceback."""

    prefix = "error: "


class BadExample(UserError):
    """A row of a data set that cannot be used, such as one without a picture. Runs skip, count and report it."""


class NonFiniteError(UserError):
    """The loss, the gradient or the policy's output is NaN or infinite; the run stops."""


class EngineLost(UserError):
    """The process that writes the answers has ended; the run can be resumed."""


class Interrupted(UserError):
    """The user stopped the run; the message says how to resume it."""

    prefix = "\n"


@contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """Raise UserError with ``message`` if the body takes longer; without effect beside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise UserError(message)

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def require_int(name: str, value: object, minimum: int, maximum: float = math.inf) -> int:
    """``value`` if it is an integer (not a bool) within bounds, else a :class:`UserError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        bounds = f", {minimum} or more" if maximum == math.inf else f" from {minimum} to {maximum}"
        raise UserError(f"{name}={value}: must be a whole number{bounds}")
    return value


def is_unicode(text: str) -> bool:
    """Whether ``text`` has no lone surrogates, which come from broken JSON, or bytes that are not UTF-8."""
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite int or float (a bool is neither)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def require_number(name: str, value: object, minimum: float, maximum: float = math.inf, above: bool = False) -> float:
    """``value`` if it is a finite number within bounds (``above``: beyond ``minimum``), else a :class:`UserError`."""
    if not is_number(value) or not minimum <= value <= maximum or (above and value == minimum):
        bounds = f"{'above' if above else 'from'} {minimum}" + (f" to {maximum}" if maximum < math.inf else "")
        raise UserError(f"{name}={value}: must be a number {bounds}")
    return value


def require_choice(name: str, value: T, choices: Iterable[object]) -> T:
    """``value`` if it is one of ``choices``, else a :class:`UserError`."""
    choices = list(choices)
    if value not in choices:
        names = ("null" if choice is None else str(choice).lower() for choice in choices)
        raise UserError(f"{name}={value}: must be one of {', '.join(names)}")
    return value
