"""Speed of one training step and of its phases: the shared prefix against paths without it, in one run.

    python benchmarks/step.py [questions=16] [group=8] [repeats=5] [threads=2]

Three paths over the same scripted trajectories (three in four zoom, so that turns, crops and observations are those
of a trained policy) on the miniature:

    shared     the engine: each group's prefix computed once, in the rollout and in the update
    unshared   the same engine and batching, but every trajectory carries a prefix of its own
    plain      every trajectory alone: sampled by itself, then one full forward and backward pass without a cache

Reward and optimiser are the same for all. Figures are medians over repeats (plain: of the first question only, for it
is slow); the ratios are what to compare, for machines differ and are noisy.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from hydra import compose, initialize_config_dir

from loupe.engine import reference as plain
from loupe.engine import update
from loupe.engine.scripted import ScriptedRollout
from loupe.paths import CONF
from loupe.records import Group
from loupe.runs import run as runs

DIRECT = "<think>I can read it.</think>\n<answer>472</answer>"
ZOOM = "<think>The text is small, zoom in.</think>\n<tool>\nname: zoom\nkeypoint: [%d, %d]\n</tool>"


class Apart(ScriptedRollout):
    """Gives the n-th prompt the script of sample n modulo group size."""

    def __call__(self, examples, group_size, step, greedy=False):
        self.seen: dict[int, int] = {}
        return super().__call__(examples, group_size, step, greedy)

    def turns_of(self, branch):
        number = self.seen.setdefault(id(branch.prompt), len(self.seen))
        return self.script[number % len(self.script)]


def build(questions: int, group: int, budget: int):
    """The module of the default configuration, its scripted rollouts by path, and its examples."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["paths.output_dir=unused", f"algorithm.microbatch_tokens={budget}"])
    module = runs.build_module(cfg)
    script = [[DIRECT] if g % 4 == 0 else [ZOOM % (9 * g % 112, 7 * g % 84), DIRECT] for g in range(group)]
    parts = module.policy, module.rollout.dialogue, module.rollout.tool
    rollouts = {
        "shared": ScriptedRollout(*parts, script=script, prompts_per_batch=questions),
        "unshared": Apart(*parts, script=script, prompts_per_batch=questions * group),
        "plain": Apart(*parts, script=script, prompts_per_batch=1),
    }
    data = runs.make(cfg.data).train
    return module, rollouts, [data[i] for i in range(questions)]


def apart(groups: list[Group]) -> list[Group]:
    """Every trajectory as a group of its own."""
    return [Group(g.example, g.prompt, [t]) for g in groups for t in g.trajectories]


def shared_rollout(rollout, examples, group):
    return rollout(examples, group, step=0)[0]


def separate_rollout(rollout, examples, group):
    """As many prompts as trajectories, in one batch or one by one as the rollout has it."""
    return rollout([example for example in examples for _ in range(group)], 1, step=0)[0]


def reward(module, groups):
    module.score(groups, step=0)


def optimiser(module, optimizer):
    for parameter in module.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.nn.utils.clip_grad_norm_(module.policy.parameters(), module.max_grad_norm)
    optimizer.step()


def shared_update(module, groups):
    update.backward(module.policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, module.microbatch_tokens)
    module.policy.zero_grad()


def unshared_update(module, groups):
    shared_update(module, apart(groups))


def plain_update(module, groups):
    for group in groups:
        for trajectory in group.trajectories:
            plain.logprobs(module.policy, group.prompt, trajectory, 1.0).sum().backward()
    module.policy.zero_grad()


def seconds(function, *arguments) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def main() -> None:
    settings = {"questions": 16, "group": 8, "repeats": 5, "threads": torch.get_num_threads(), "budget": 16384}
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name not in settings or not value.isdigit() or int(value) < 1:
            sys.exit(f"error: {argument}: give {', '.join(settings)} as name=number, 1 or more")
        settings[name] = int(value)
    torch.set_num_threads(settings["threads"])
    size, group = settings["questions"], settings["group"]
    module, rollouts, examples = build(size, group, settings["budget"])
    groups = shared_rollout(rollouts["shared"], examples, group)
    optimizer = module.configure_optimizers()["optimizer"]
    shared_update(module, groups)
    phases = {
        ("rollout", "shared"): (size * group, shared_rollout, rollouts["shared"], examples, group),
        ("rollout", "unshared"): (size * group, separate_rollout, rollouts["unshared"], examples, group),
        ("rollout", "plain"): (group, separate_rollout, rollouts["plain"], examples[:1], group),
        ("reward", "shared"): (size * group, reward, module, groups),
        ("update", "shared"): (size * group, shared_update, module, groups),
        ("update", "unshared"): (size * group, unshared_update, module, groups),
        ("update", "plain"): (group, plain_update, module, groups[:1]),
        ("optimiser", "shared"): (size * group, optimiser, module, optimizer),
    }
    took = {key: [] for key in phases}
    for _ in range(settings["repeats"]):  # interleaved, so that a slow moment of the machine hits all paths alike
        for key, (count, *work) in phases.items():
            took[key].append(seconds(*work) / count)
    each = {key: median(values) for key, values in took.items()}  # seconds per trajectory
    for path in ("shared", "unshared", "plain"):
        whole = [
            each.get((phase, path), each[phase, "shared"]) for phase in ("rollout", "reward", "update", "optimiser")
        ]
        each["step", path] = sum(whole)
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    print(f"{'phase':<11}{'path':<10}{'trajectories/s':>16}{'shared is faster by':>21}")
    for phase in ("rollout", "reward", "update", "optimiser", "step"):
        for path in ("shared", "unshared", "plain"):
            if (phase, path) in each:
                spent = each[phase, path]
                print(f"{phase:<11}{path:<10}{1 / spent:>16.1f}{spent / each[phase, 'shared']:>20.2f}x")


if __name__ == "__main__":
    main()
