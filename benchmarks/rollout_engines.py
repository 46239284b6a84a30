"""Seconds of a rollout by the packed decoder and by vLLM, over group size and length of the turns.

    python benchmarks/rollout_engines.py [questions=4] [repeats=3] [threads=1] [override=model=tiny ..]

The policy is untrained, so that it ends few of its turns. Groups and lengths are those in ``GROUPS`` and ``LENGTHS``.
Between two rollouts vLLM takes over the weights, as between two steps of a training. Each time is the median of the
repeats, without the first. Needs vLLM (requirements-vllm.txt), with or without a GPU. Ratios say more than times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product
from statistics import median

import torch
from hydra import compose, initialize_config_dir

import loupe.runs.cli  # noqa: F401  (registers the resolvers that the configuration uses)
from loupe.engine.rollout import GroupRollout
from loupe.paths import CONF
from loupe.runs.build import build_module, device
from loupe.runs.config import instantiate

GROUPS = (2, 8, 32)
LENGTHS = (16, 64, 256)


def seconds(rollout, examples, group: int, repeats: int) -> tuple[float, int]:
    """The median time of a rollout, and the tokens that it sampled."""
    times = []
    for step in range(repeats + 1):
        began = time.perf_counter()
        groups, _ = rollout(examples, group, step)
        times.append(time.perf_counter() - began)
        rollout.decoder.refresh()  # as between the steps of a training
    return median(times[1:]), sum(t.n_sampled for g in groups for t in g.trajectories)


def compared(
    overrides: Sequence[str] = (),
    questions: int = 4,
    repeats: int = 3,
    group_sizes: Sequence[int] = GROUPS,
    lengths: Sequence[int] = LENGTHS,
) -> Iterator[dict]:
    """One row for each group size and length: seconds and tokens per second of both, and the ratio of the latter."""
    settings = ["paths.output_dir=unused", "logger=none", "rollout=vllm", "model=tiny_random", "tool=none", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=settings)
    module, data = build_module(cfg), instantiate(cfg.data).train
    examples = [data[i] for i in range(questions)]
    packed = GroupRollout(module.policy, module.rollout.dialogue)
    with device(cfg, module.policy):
        for group, length in product(group_sizes, lengths):
            row: dict = {"group": group, "length": length}
            for name, rollout in (("packed", packed), ("vLLM", module.rollout)):
                rollout.max_new_tokens = length
                took, sampled = seconds(rollout, examples, group, repeats)
                row |= {f"{name} s": took, f"{name} tok/s": sampled / took}
            yield row | {"ratio": row["vLLM tok/s"] / row["packed tok/s"]}


def main() -> None:
    arguments = [argument.partition("=")[::2] for argument in sys.argv[1:]]
    overrides = [value for key, value in arguments if key == "override"]
    given = {"questions": 4, "repeats": 3, "threads": 1} | {k: int(v) for k, v in arguments if k != "override"}
    torch.set_num_threads(given.pop("threads"))
    for number, row in enumerate(compared(overrides, **given)):
        if number == 0:
            print(*(f"{name:>12}" for name in row))
        print(
            *(f"{value:>12.3g}" if isinstance(value, float) else f"{value:>12}" for value in row.values()), flush=True
        )


if __name__ == "__main__":  # the engine's process imports this file
    main()
