"""One line for a file that the system refuses because a disk, a quota or another limit leaves no room for it."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loupe.errors import UserError

FIXES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EFBIG: "raise the limit (ulimit -f)",
    errno.ENAMETOOLONG: "choose a shorter name",
}
IN_RUST = re.compile(r"\(os error (\d+)\)")  # how safetensors and tokenizers report the system's errors
IN_TORCH = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+")  # torch.save


@contextmanager
def limits_explained(folder: Path) -> Iterator[None]:
    """Turn errors of a full disk into a UserError. folder: where the job writes, for errors that name no file."""
    try:
        yield
    except Exception as error:
        if message := _explain(error, folder):
            raise UserError(message) from error
        raise


def _explain(error: Exception, folder: Path) -> str | None:
    in_rust = IN_RUST.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(in_rust[1]) if in_rust else None
    if number in FIXES:
        return f"{getattr(error, 'filename', None) or folder}: {os.strerror(number)}; {FIXES[number]}"
    if isinstance(error, RuntimeError) and IN_TORCH.search(str(error)):
        return f"{folder}: no room for a checkpoint; {FIXES[errno.ENOSPC]}"
    return None
