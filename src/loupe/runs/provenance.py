"""The origin of a run, written beside its results."""

import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from loupe.atomic import replacing
from loupe.paths import PROJECT
from loupe.runs.config import command_line
from loupe.runs.files import RunFile

PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "peft", "wandb", "pillow", "Levenshtein")


def write_provenance(cfg: DictConfig, folder: Path) -> None:
    """Write config.yaml (resolved), provenance.json (commit, versions, command) and diff.patch (uncommitted changes).

    ``uncommitted``: whether there are such changes, or files in conf/ and src/ that git does not track.
    """
    with replacing(folder / RunFile.CONFIG) as partial:
        OmegaConf.save(cfg, partial, resolve=True)
    diff = _git("diff", "HEAD")
    untracked = _git("ls-files", "--others", "--exclude-standard", "conf", "src")
    provenance = {
        "command": f"{command_line()} {shlex.quote(f'paths.output_dir={folder}')}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "uncommitted": bool(diff or untracked),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    with replacing(folder / RunFile.PROVENANCE) as partial:
        partial.write_text(json.dumps(provenance, indent=2) + "\n")
    (folder / RunFile.PATCH).unlink(missing_ok=True)  # of the part of the run before it was resumed
    if diff:
        (folder / RunFile.PATCH).write_text(diff + "\n")


def commit() -> str | None:
    """The commit of the project's folder; None without git or a repository."""
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str | None:
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
