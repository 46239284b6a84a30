import errno
import os

import pytest
import torch
from safetensors import SafetensorError

from loupe.errors import UserError
from loupe.runs.disk import limits_explained


def write(path):
    with open(path, "w") as file:
        file.write("x")


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: write("/dev/full"), r"^/run: No space left on device; make room there$"),
        (lambda: torch.save(torch.zeros(10**5), "/dev/full"), r"^/run: no room for a checkpoint; make room there$"),
        (lambda: write("/tmp/" + "x" * 300), r"^/tmp/xx*: File name too long; choose a shorter name$"),
        (
            lambda: fail(OSError(errno.EDQUOT, "", "/run/a.json")),
            rf"^/run/a\.json: {os.strerror(errno.EDQUOT)}; make room there$",
        ),
        (lambda: fail(OSError(errno.EFBIG, "")), r"^/run: File too large; raise the limit \(ulimit -f\)$"),
        (
            lambda: fail(SafetensorError("Error while serializing: No space left on device (os error 28)")),
            r"^/run: No space left on device; make room there$",
        ),
    ],
)
def test_what_a_full_disk_raises_is_told_in_one_line(work, message):
    with pytest.raises(UserError, match=message), limits_explained("/run"):
        work()


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "Missing", "/run/a"), RuntimeError("a bug"), KeyError("x")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised, limits_explained("/run"):
        raise error
    assert raised.value is error
