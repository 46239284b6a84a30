"""Reward terms that even random weights earn. A module of its own, because the commands under test import it."""

import itertools
import os
import signal


def vowels(trajectory, group) -> float:
    """The share of vowels in what was written."""
    return sum(character in "aeiou" for character in trajectory.text) / (len(trajectory.text) + 1)


CALLS = itertools.count(1)


def vowels_and_sigterm(trajectory, group) -> float:
    """The same; at call number SIGNAL_AT the process of the second rank gets SIGTERM."""
    if os.environ.get("LOCAL_RANK") == "1" and next(CALLS) == int(os.environ.get("SIGNAL_AT", 0)):
        os.kill(os.getpid(), signal.SIGTERM)
    return vowels(trajectory, group)
