"""Read back the logged steps of a run: from its folder, an offline W&B file or W&B's servers."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loupe.errors import UserError
from loupe.logs.rows import METRICS, read_rows

if TYPE_CHECKING:  # a run's folder is read without W&B
    from wandb.proto.wandb_internal_pb2 import Record

MAGIC = b":W&B"
HEADER, BLOCK = 7, 32768
LAST_PARTS = (1, 4)  # types of chunk that end a record: FULL and LAST
ON_SERVERS = re.compile(r"[\w-]+/[\w.-]+/\w+")  # entity/project/run


def history(source: str | Path) -> list[dict]:
    """The logged rows of a run, oldest first, under the keys they were logged with; each row has its ``step``.

    source: a run's folder (its metrics.jsonl), a ``.wandb`` file that W&B wrote offline, or ``entity/project/run`` for
    W&B's API, which needs an account. Numbers are the same in all three; histograms are counts and edges in
    metrics.jsonl and have W&B's own form elsewhere. Raises UserError if ``source`` is none of these.
    """
    path = Path(source)
    if (path / METRICS).is_file():
        return read_rows(path / METRICS)
    if path.is_file() and path.suffix == ".wandb":
        return list(map(_with_step, offline_rows(path)))
    reason = ""
    if not path.exists() and ON_SERVERS.fullmatch(str(source)):
        import wandb

        try:
            return list(map(_with_step, wandb.Api().run(str(source)).scan_history()))
        except (wandb.Error, ValueError) as error:
            reason = f" ({str(error).splitlines()[0]})"
    raise UserError(
        f"{source}: neither a run's folder with {METRICS}, a .wandb file, nor an entity/project/run on W&B{reason}"
    )


def offline_rows(path: Path) -> list[dict]:
    """The logged rows of a .wandb file; the parts of nested keys are joined with a slash."""
    rows = [record.history.item for record in records(path) if record.HasField("history")]
    return [{"/".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def records(path: Path) -> Iterator["Record"]:
    """The protobuf records of a .wandb file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB.

    W&B 0.31 ships no reader for these files. In a file that is still being written, the last complete record is the
    end. Raises UserError for any other kind of file.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), HEADER, b""
    if not data.startswith(MAGIC):
        raise UserError(f"{path}: not a W&B file")
    while at + HEADER <= len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += HEADER + length
        if at > len(data):
            return
        whole += data[at - length : at]
        if kind in LAST_PARTS:
            yield Record.FromString(whole)
            whole = b""


def _with_step(row: dict) -> dict:
    return {"step": row.get("trainer/global_step")} | row
