"""Dynamic sampling (DAPO, arXiv 2503.14476 §3.2): what a step has drawn so far, and which groups it keeps."""

from collections import Counter

from loupe.errors import BadExample
from loupe.grpo import distributed
from loupe.records import Group


class Draws:
    """The sampled and scored groups of one step and rank, drawn batch by batch.

    size: how many groups the step needs. groups: the ``size`` that are kept, in the order in which they were drawn:
    those whose rewards differ, and where there are too few, the first of the others. skipped: the errors of rows.
    """

    def __init__(self, size: int):
        self.size = size
        self.groups: list[Group] = []
        self.skipped: list[BadExample] = []
        self.counts: Counter = Counter()

    @property
    def full(self) -> bool:
        """Whether there are enough groups whose rewards differ."""
        return self.counts["drawn"] - self.counts["equal"] >= self.size

    def add(self, groups: list[Group], skipped: list[BadExample]) -> None:
        """Take a batch of scored groups, and the errors of its other rows."""
        self.counts.update(drawn=len(groups), equal=sum(group.equal_rewards for group in groups))
        candidates = [*self.groups, *groups]
        first = sorted(range(len(candidates)), key=lambda index: candidates[index].equal_rewards)[: self.size]
        self.groups = [candidates[index] for index in sorted(first)]
        self.skipped += skipped

    def metrics(self) -> dict[str, float]:
        """How many groups all ranks have drawn and kept, and the share of those drawn whose rewards are all equal.

        All ranks call this.
        """
        totals = distributed.total(self.counts + Counter(kept=len(self.groups)))
        report: dict[str, float] = {"drawn/groups": totals["drawn"], "drawn/kept": totals["kept"]}
        if totals["drawn"]:
            report["drawn/zero_variance_share"] = totals["equal"] / totals["drawn"]
        return report
