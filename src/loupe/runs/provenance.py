"""What a run was made from, written beside its results; and what an earlier run left, kept."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from loupe.paths import PROJECT

LEFT_BY_A_RUN = (
    *("config.yaml", "provenance.json", "diff.patch", "metrics.jsonl", "timing.jsonl", "trajectories.jsonl"),
    *("wandb", "checkpoints", "model", "advantages.png", "learning.png", "example.png", "summary.json", "skills.json"),
    "nonfinite_batch*.pt",
)
PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "peft", "wandb", "pillow", "Levenshtein")


def set_aside(folder: Path) -> Path | None:
    """Move what an earlier run left in this folder to previous-N; returns where it is now, if there was any."""
    if not (folder / "metrics.jsonl").exists() and not (folder / "checkpoints").exists():
        return None
    number = 1
    while (aside := folder / f"previous-{number}").exists():
        number += 1
    aside.mkdir()
    for left in [path for pattern in LEFT_BY_A_RUN for path in folder.glob(pattern)]:
        shutil.move(left, aside / left.name)
    return aside


def write_provenance(cfg: DictConfig, folder: Path) -> None:
    """config.yaml (resolved), provenance.json (commit, versions, command) and diff.patch (uncommitted changes).

    ``uncommitted``: whether there are such changes, or files in conf/ and src/ that git does not know.
    """
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    diff = _git("diff", "HEAD")
    unknown = _git("ls-files", "--others", "--exclude-standard", "conf", "src")
    provenance = {
        "command": f"{command_line()} {shlex.quote(f'paths.output_dir={folder}')}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "uncommitted": bool(diff or unknown),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    (folder / "diff.patch").unlink(missing_ok=True)  # of the part of the run before it was resumed
    if diff:
        (folder / "diff.patch").write_text(diff + "\n")


def commit() -> str | None:
    """The commit of the project's folder; None where there is no git or no repository."""
    return _git("rev-parse", "HEAD")


def command_line() -> str:
    """The command of this job, quoted for the shell, without where it writes and what it resumes."""
    job, overrides = "train", []
    if HydraConfig.initialized():
        job, overrides = HydraConfig.get().job.config_name, HydraConfig.get().overrides.task
    kept = [override for override in overrides if not override.startswith(("paths.output_dir=", "resume="))]
    return shlex.join(["python", f"src/{job}.py", *kept])


def _git(*arguments: str) -> str | None:
    """Output of git in the project's folder; None where there is no git or no repository."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
