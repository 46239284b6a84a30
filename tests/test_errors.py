import math
import signal
import time

import pytest

from loupe.errors import UserError, require_choice, require_int, require_number, time_limit


@pytest.mark.parametrize("value", [1, 7, 10**12])
def test_whole_numbers_pass(value):
    assert require_int("crop", value, 1) == value


@pytest.mark.parametrize("value", [0, -3, 1.0, "1", None, True, math.nan])
def test_other_values_than_whole_numbers_are_refused(value):
    with pytest.raises(UserError, match=rf"^crop={value}: must be a whole number, 1 or more$"):
        require_int("crop", value, 1)


def test_whole_numbers_with_a_maximum():
    assert require_int("threads", 8, 1, 8) == 8
    with pytest.raises(UserError, match=r"^threads=9: must be a whole number from 1 to 8$"):
        require_int("threads", 9, 1, 8)


@pytest.mark.parametrize("value", [0, 0.5, 3])
def test_numbers_pass(value):
    assert require_number("beta", value, 0) == value


@pytest.mark.parametrize("value", [-0.1, "1", None, True, math.nan, math.inf])
def test_other_values_than_numbers_are_refused(value):
    with pytest.raises(UserError, match=rf"^beta={value}: must be a number from 0$"):
        require_number("beta", value, 0)


def test_above_excludes_the_minimum():
    assert require_number("rate", 1e-9, 0, above=True) == 1e-9
    with pytest.raises(UserError, match=r"^rate=0: must be a number above 0$"):
        require_number("rate", 0, 0, above=True)


def test_choices():
    assert require_choice("gate", "open", ("open", "shut")) == "open"
    with pytest.raises(UserError, match=r"^gate=ajar: must be one of open, shut$"):
        require_choice("gate", "ajar", ("open", "shut"))


def test_what_takes_too_long_is_stopped():
    handler = signal.getsignal(signal.SIGALRM)
    with time_limit(5, "slow"):
        pass
    with pytest.raises(UserError, match=r"^slow$"), time_limit(0.01, "slow"):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is handler and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
