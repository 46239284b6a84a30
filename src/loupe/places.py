"""Names of models that hold when a run is moved, or read on another machine."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def portable(name: str) -> str:
    """A folder within the project is named from the project's own folder, any other by its absolute path.

    The former begin with "./", so that they are never taken for a hub id. What is no folder here keeps its name.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    folder = folder.resolve()
    return f"./{folder.relative_to(PROJECT).as_posix()}" if folder.is_relative_to(PROJECT) else str(folder)


def located(name: str) -> str:
    """The folder that :func:`portable` named, wherever this is called from; what is no folder keeps its name."""
    folder = PROJECT / name  # an absolute name stays as it is
    return str(folder) if folder.is_dir() else name
