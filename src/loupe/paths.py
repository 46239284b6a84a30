"""Where the project's own files are, and names for models that still hold when a run is moved."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE.parents[1]
CONF = PROJECT / "conf"


def package_path(relative: str) -> str:
    """A file or folder that ships with this package."""
    return str(PACKAGE / relative)


def of_setting(value: object) -> Path:
    """The path that a setting gives: a name may have been read as a number, and ``~`` is the home folder."""
    return Path(str(value)).expanduser()


def portable(name: str) -> str:
    """A name for a model's folder that other machines understand.

    A folder inside the project is named relative to the project, with a leading "./" so that it is never mistaken for
    a hub id; any other folder gets its absolute path. A name that is not a folder here stays as it is.
    """
    folder = of_setting(name)
    if not folder.is_dir():
        return name
    folder = folder.resolve()
    return f"./{folder.relative_to(PROJECT).as_posix()}" if folder.is_relative_to(PROJECT) else str(folder)


def located(name: str) -> str:
    """The folder that :func:`portable` named, whatever the working directory; other names stay as they are."""
    folder = PROJECT / name  # an absolute name stays as it is
    return str(folder) if folder.is_dir() else name


def moved(content, old: str, new: str):
    """``content``, a JSON-like value, with the folder ``old`` replaced by ``new`` in all its paths, keys included.

    Only a text that is ``old`` or a path below it changes.
    """
    if isinstance(content, dict):
        return {moved(key, old, new): moved(value, old, new) for key, value in content.items()}
    if isinstance(content, list):
        return [moved(value, old, new) for value in content]
    return new + content[len(old) :] if isinstance(content, str) and f"{content}/".startswith(f"{old}/") else content
