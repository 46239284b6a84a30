"""The worker's end of the comparison: takes a step when told to, and reports its times."""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

RESULT = "result "
"""Begins the lines that are meant for the parent process."""


def flash(query_shape, key_shape, value_shape, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def flash_backward(grad_shape, query_shape, key_shape, value_shape, *args, out_shape=None, **kwargs) -> int:
    return sdpa_backward_flop_count(grad_shape, query_shape, key_shape, value_shape)


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: flash,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: flash_backward,
}
"""Operations of torch that its counter does not know."""


class Recorder:
    """Times the two phases of each step: the rollout, with rewards and advantages, and the update.

    With one thread it counts CPU seconds, which other work on the machine disturbs less.
    """

    def __init__(self):
        self.clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        self.steps, self.digest, self.norm = 0, "", 0.0
        self.at_start = resident()

    def begin(self) -> None:
        """Wait for the word to take a step. The first step is for warming up, and for counting operations."""
        if not sys.stdin.readline():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(RESULT + json.dumps({"peak": peak, "above_start": peak - self.at_start}), flush=True)
            raise SystemExit
        self.counter = FlopCounterMode(display=False, custom_mapping=ATTENTION) if self.steps == 0 else None
        if self.counter:
            self.counter.__enter__()
        self.start = self.clock()

    def sampled(self, digest: str) -> None:
        """The rollout is over. digest: of its tokens (``task.digest``)."""
        self.rolled, self.digest = self.clock(), digest
        self.rollout_flops = self.counter.get_total_flops() if self.counter else 0

    def end(self) -> None:
        """The step is over."""
        now, found = self.clock(), {"digest": self.digest, "norm": self.norm}
        found |= {"rollout": self.rolled - self.start, "update": now - self.rolled, "step": now - self.start}
        if self.counter:
            self.counter.__exit__(None, None, None)
            total = self.counter.get_total_flops()
            found["flops"] = {"rollout": self.rollout_flops, "update": total - self.rollout_flops, "step": total}
        self.steps += 1
        print(RESULT + json.dumps(found), flush=True)


def resident() -> float:
    """Memory of this process, in GiB. Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30
