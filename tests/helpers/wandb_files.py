"""The files that W&B writes offline."""

from __future__ import annotations

import time
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

from loupe.logs.history import records


def finished(path: Path) -> list[Record]:
    """All records of a run. W&B's own process writes the last ones, on a busy machine shortly after the run's end."""
    deadline = time.monotonic() + 20
    while not exit_codes(found := list(records(path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def exit_codes(run: list[Record]) -> list[int]:
    return [record.exit.exit_code for record in run if record.HasField("exit")]
