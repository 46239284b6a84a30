"""Rows of a data set that cannot be read: each is named once, and a data set without readable rows stops the run."""

import logging
from collections.abc import Iterable

from loupe.errors import BadExample, UserError
from loupe.grpo import distributed

LOG = logging.getLogger(__name__)
EMPTY_BATCHES = 10
"""The run stops after this many consecutive batches without a readable row."""


class SkippedRows:
    """lines: one for each row that could not be read."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self.empty_batches = 0

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, errors: list[BadExample], batch_is_empty: bool) -> None:
        """Name the skipped rows of a batch. Raises UserError at the ``EMPTY_BATCHES``-th empty batch in a row."""
        self._name(map(str, errors))
        self.empty_batches = self.empty_batches + 1 if batch_is_empty else 0
        if self.empty_batches == EMPTY_BATCHES:
            raise UserError(f"{EMPTY_BATCHES} batches in a row without a readable row; the last error: {errors[-1]}")

    def join(self) -> None:
        """Share what the ranks have skipped; all ranks call this."""
        self._name(distributed.flat(distributed.gather(sorted(self.lines))))
        self.empty_batches = min(distributed.gather(self.empty_batches))

    def state(self) -> dict:
        """What :meth:`restore` needs."""
        return {"lines": sorted(self.lines), "empty_batches": self.empty_batches}

    def restore(self, state: dict | None) -> None:
        """Go on where a checkpoint was saved; one of an earlier version says nothing about skipped rows."""
        if state:
            self.lines |= set(state["lines"])
            self.empty_batches = state["empty_batches"]

    def _name(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self.lines:
                self.lines.add(line)
                LOG.warning("skipped: %s", line)
