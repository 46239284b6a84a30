"""Small jobs to which something happens, each forked from a server that has imported everything."""

import errno
import gc
import importlib
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import count
from pathlib import Path

import torch
import yaml
from pyarrow import parquet
from safetensors.torch import load_file

import evaluate  # noqa: F401
import mine  # noqa: F401
import pretrain  # noqa: F401
import train  # noqa: F401
from loupe.paths import moved
from loupe.pretrain import curriculum
from loupe.pretrain.curriculum import Stage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
gc.freeze()  # in the server: what it has imported is neither scanned nor copied by those that it forks

QUICK = ["model=tiny_random", "logger=none", "threads=1", "trainer.enable_progress_bar=false"]
QUICK += ["data.eval_batch_size=2", "rollout.max_new_tokens=2"]
JOBS = {
    "train": [
        *("trainer.max_steps=2", "trainer.val_check_interval=1", "data.batch_size=1", "data.n_val=1", "data.n_test=2"),
        *("algorithm.group_size=2", "report.trajectories_every=1", "algorithm.optimizer.lr=0.01"),
        "+reward.terms.dense=vowel_terms.vowels",
        "+reward.weights.dense=1",
    ],
    "evaluate": ["data.n_test=4", "evaluate.samples=0", "evaluate.resamples=5", "evaluate.conditions=[greedy,no_tool]"],
    "mine": ["data.n_train=4", "evaluate.samples=1"],
    "pretrain": [
        *("trainer.max_steps=2", "trainer.val_check_interval=1", "data.n_val=2"),
        "+pretrain.module.matrix_optimizer.ns_steps=1",
    ],
}
LITTLE = (Stage(1.0, (1, 1), 0, 0.1, {"point": 1}, views=1, pictures=1),)

NOT_COMPARED = {"train.log", "evaluate.log", "mine.log", "pretrain.log", "timing.jsonl", "provenance.json"}
NOT_COMPARED |= {"parts.jsonl", ".lock", "report.html"}
"""They name times, folders and commands."""


class Job:
    """A job in ``folder``; what it prints is in a file beside that."""

    def __init__(self, entry: str, folder: Path):
        self.entry, self.folder = entry, folder
        self.output = folder.with_name(f"{folder.name}.out")

    def start(self, fault: Callable[[], object] | None = None, *overrides: str, resume: bool = True):
        """Start it in a process of its own, in which ``fault`` is called first. resume: where it can."""
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the server
        given = [*QUICK, *JOBS[self.entry], f"paths.output_dir={self.folder}"]
        if resume and (self.folder / "checkpoints" / "last.ckpt").exists():
            given = [f"resume={self.folder}"]
        process = PROCESSES.Process(target=_run, args=(self.entry, [*given, *overrides], self.output, fault))
        process.start()
        return process

    def run(self, fault: Callable[[], object] | None = None, *overrides: str, resume: bool = True) -> int:
        """Start it and wait for its end; returns the exit status."""
        process = self.start(fault, *overrides, resume=resume)
        process.join(120)
        assert process.exitcode is not None, "it hangs"
        return process.exitcode

    def finish(self, *overrides: str, resume: bool = True) -> None:
        assert self.run(None, *overrides, resume=resume) == 0, self.output.read_text()


def _run(entry, arguments, output, fault):
    with output.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    torch.set_num_threads(1)
    curriculum.COURSES["base"] = LITTLE
    sys.argv = [f"src/{entry}.py", *arguments]
    if fault:
        fault()
    importlib.import_module(entry).main()


class AtChange:
    """Stops the process at the ``at``-th change that it makes below ``folder``; with 0, at none.

    Each change is noted in ``log`` before it is made. torn: a file that is about to be written to is left half written.
    full: instead of killing the process, fail this and every later write as on a full disk.
    """

    CALLS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree")

    def __init__(self, folder: Path, at: int = 0, torn: bool = False, full: bool = False):
        self.folder, self.log = str(folder), log_of(folder)
        self.at, self.torn, self.full = at, torn, full
        self.count, self.tearing = 0, False

    def __call__(self) -> None:
        self.file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(self._audit)
        self._announce(os, "fsync", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
        self._announce(torch, "save", lambda _, path, *rest: path)  # these two write outside of Python
        self._announce(parquet, "write_table", lambda _, path, *rest: path)

    def _audit(self, event: str, arguments: tuple) -> None:
        path = arguments[0] if arguments else None
        if event == "open":
            if isinstance(path, str | os.PathLike) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
                self._change("write", path)
        elif event in self.CALLS and os.path.exists(path) != (event == "os.mkdir"):
            self._change(event, path)

    def _announce(self, module: object, name: str, path: Callable) -> None:
        function = getattr(module, name)

        def announced(*arguments, **options):
            self._change("write" if name != "fsync" else name, path(*arguments))
            return function(*arguments, **options)

        setattr(module, name, announced)

    def _change(self, event: str, path: str | os.PathLike) -> None:
        if self.tearing or not os.fspath(path).startswith(self.folder):
            return
        self.count += 1
        os.write(self.file, f"{event} {os.path.relpath(path, self.folder)}\n".encode())
        if self.count == self.at and self.torn:
            self.tearing = True
            with open(path, "ab" if str(path).endswith((".jsonl", ".log")) else "wb") as file:
                file.write(b'{"half')
            self.tearing = False
        if self.count == self.at and not self.full:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.full and self.count >= self.at > 0 and event in ("write", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


@dataclass
class At:
    """Calls ``action`` when ``place`` (module:name) is called for the ``nth`` time."""

    place: str
    nth: int
    action: Callable[[], object]

    def __call__(self) -> None:
        module, _, name = self.place.partition(":")
        *owners, name = name.split(".")
        owner = reduce(getattr, owners, importlib.import_module(module))
        function, calls = getattr(owner, name), count(1)

        def watched(*arguments, **options):
            if next(calls) == self.nth:
                self.action()
            return function(*arguments, **options)

        setattr(owner, name, watched)


def signal_self(number: int) -> None:
    os.kill(os.getpid(), number)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def hold(reached: Path, go_on: Path) -> None:
    reached.touch()
    wait_for(go_on)


def limit_files(size: int) -> None:
    """No file grows beyond ``size`` bytes; Python ignores the signal, so that the write fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.changes")


def changes(folder: Path) -> list[tuple[str, str]]:
    """What ``AtChange`` noted, without the number of the process in the names of partial files."""
    lines = (line.partition(" ") for line in log_of(folder).read_text().splitlines())
    return [(event, ".".join(part for part in path.split(".") if not part.isdecimal())) for event, _, path in lines]


def assert_whole(folder: Path) -> None:
    """Every file that claims to be complete can be read."""
    for path in (path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts):
        if ".partial" not in str(path.relative_to(folder)) and (read := READ.get(path.suffix)):
            assert read(path) is not None, path


def content(folder: Path) -> dict[str, object]:
    """What two runs must have in common, by name: all but times, logs, where the run lies, and the code's commit, which
    changes where someone works on it while the tests run.
    """
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    found = {}
    for name, path in files.items():
        top = name.split("/")[0]
        if top in NOT_COMPARED or top in (".hydra", "wandb") or top.startswith(("previous-", "diff")):
            continue
        if path.suffix in (".ckpt", ".parquet"):
            found[name] = READ[path.suffix](path)
        elif name == "config.yaml":  # which still names the folder in which a copied run started
            config = yaml.safe_load(path.read_text())
            found[name] = moved(config, config["paths"]["output_dir"], "FOLDER")
        elif name == "summary.json":
            found[name] = json.loads(path.read_text()) | {"seconds": None}
        else:
            found[name] = COMMIT.sub(b"", path.read_bytes().replace(os.fsencode(folder), b"FOLDER"))
    return found


def assert_same(folder: Path, other: Path) -> None:
    ours, theirs = content(folder), content(other)
    differing = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    assert not differing, f"{folder}: {sorted(differing)}"


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _checkpoint(path: Path) -> dict:
    state = torch.load(path, weights_only=True)
    return {key: _plain(state[key]) for key in ("global_step", "state_dict", "optimizer_states", "lr_schedulers")}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


COMMIT = re.compile(rb'"commit": "[0-9a-f]{40}"|^\| commit \|.*$', re.MULTILINE)
"""The code's commit in a model card and in what an evaluation leaves."""
READ: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _rows,
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".ckpt": _checkpoint,
    ".parquet": lambda path: parquet.read_table(path).to_pylist(),
    ".safetensors": load_file,
}
