"""The origin of a run, written beside its results."""

import logging
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from loupe.atomic import replacing, write_json
from loupe.paths import PROJECT
from loupe.runs.config import command_line, override
from loupe.runs.files import RunFile

LOG = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "peft", "wandb", "pillow", "Levenshtein")
SECRETS = (".env*", ".netrc", "*.pem", "*.key", "*.p12", "id_rsa*", "id_ed25519*", "*credential*", "*secret*")
"""Names of files that may hold secrets, in any case."""


def write_provenance(cfg: DictConfig, folder: Path, goes_on: bool = False) -> None:
    """Write config.yaml (resolved), provenance.json (commit, versions, command) and diff.patch (uncommitted changes).

    goes_on: whether results of an earlier start are kept, whose provenance then stays as well. ``uncommitted``: whether
    there are such changes, or files in conf/ and src/ that git does not track.
    """
    with replacing(folder / RunFile.CONFIG) as partial:
        OmegaConf.save(cfg, partial, resolve=True)
    if goes_on and (folder / RunFile.PROVENANCE).exists():
        return
    untracked = _git("ls-files", "--others", "--exclude-standard", "conf", "src")
    provenance = {
        "command": f"{command_line()} {override('paths.output_dir', folder)}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "uncommitted": write_patch(folder / RunFile.PATCH) or bool(untracked),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions(),
    }
    write_json(folder / RunFile.PROVENANCE, provenance)


def versions() -> dict[str, str]:
    """The versions of the packages that results depend on, of those that are installed."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def write_patch(path: Path) -> bool:
    """Write the uncommitted changes to ``path``, if there are any; returns whether there are.

    Changes to files that may hold secrets are left out, and those files are named in the log.
    """
    diff = _output("diff", "HEAD", "--", ".", *(f":(exclude,glob,icase)**/{name}" for name in SECRETS))
    secret = _git("diff", "HEAD", "--name-only", "--", *(f":(glob,icase)**/{name}" for name in SECRETS))
    if secret:
        LOG.warning("%s leaves out changes to what may hold secrets: %s", path.name, secret.replace("\n", ", "))
    path.unlink(missing_ok=True)  # of an earlier start
    if diff:
        with replacing(path) as partial:
            partial.write_bytes(diff)
    return bool(diff or secret)


def commit() -> str | None:
    """The commit of the project's folder; None without git or a repository."""
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str | None:
    output = _output(*arguments)
    return None if output is None else output.decode(errors="replace").strip()


def _output(*arguments: str) -> bytes | None:
    """What git prints, byte by byte: a patch without the blank lines at its end cannot be applied."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None
