"""Files and folders that are replaced as a whole: whatever happens meanwhile, the old or the new content is there."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file or folder to. At the end it is synced and replaces ``path``.

    After an error it is removed. A process that is killed leaves at most a partial file, which :func:`remove_partial`
    finds.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{SUFFIX}")
    try:
        yield partial
        for file in [partial, *partial.rglob("*")] if partial.is_dir() else [partial]:
            _sync(file)
        if path.is_dir():  # a folder that is not empty cannot be replaced in one step
            earlier = path.with_name(f"{path.name}.{os.getpid()}.earlier{SUFFIX}")
            path.rename(earlier)
            partial.rename(path)
            shutil.rmtree(earlier)
        else:
            partial.replace(path)
        _sync(path.parent)
    finally:
        _remove(partial)


def write_json(path: Path, content: object) -> None:
    """Replace ``path`` with ``content`` as indented json."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left in ``folder``. A folder that was about to be replaced gets its content back."""
    for earlier in folder.glob(f"*.earlier{SUFFIX}"):
        path = earlier.with_name(earlier.name.rsplit(".", 3)[0])
        if not path.exists():
            earlier.rename(path)
    for partial in folder.glob(f"*{SUFFIX}"):
        _remove(partial)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
