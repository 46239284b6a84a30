"""Speed of a training step and of its phases, with the shared prefix and without it, in one run.

    python benchmarks/step.py [questions=16] [group=8] [repeats=5] [threads=2] [size=1.6M]

Runs three paths over the same scripted trajectories of the miniature (three in four zoom, so that turns, crops and
observations are those of a trained policy):

    shared     the engine: each group's prefix is computed once, in the rollout and in the update
    unshared   the same engine and batching, but every trajectory has its own prefix
    reference  every trajectory alone: sampled by itself, then one full forward and backward pass without a cache

Reward and optimizer are the same for all paths. Times are medians over repeats (reference: of the first question only,
because it is slow). Compare the ratios rather than the times, because machines differ and are noisy. The last lines say
how many times as long the shared path takes as its matrix products alone, each timed by itself at its own shape.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import median

import torch
from floor import floor
from hydra import compose, initialize_config_dir

import loupe.runs.cli  # noqa: F401  (registers the resolvers that the configuration uses)
from loupe.engine import reference, update
from loupe.engine.scripted import ScriptedRollout
from loupe.paths import CONF
from loupe.records import Group
from loupe.runs.build import build_module
from loupe.runs.config import instantiate
from loupe.tools.forms import FORMS

SIZES = {
    "1.6M": (),
    "47M": (
        "model=tiny_random",
        "model.build._target_=loupe.models.qwen.build",
        "+model.build.dtype=float32",
        "+model.build.text={hidden_size: 512, intermediate_size: 2816, num_hidden_layers: 8, num_attention_heads: 8, "
        "num_key_value_heads: 2, vocab_size: 519, max_position_embeddings: 4096, rope_parameters: "
        "{rope_type: default, rope_theta: 1e6, mrope_section: [8, 12, 12]}}",
        "+model.build.vision={depth: 6, hidden_size: 256, intermediate_size: 704, num_heads: 4, "
        "fullatt_block_indexes: [2, 5]}",
    ),
}
"""Settings of a model with so many parameters: the miniature, and a larger one with random weights."""
PHASES = ("rollout", "reward", "update", "optimizer")
PATHS = ("shared", "unshared", "reference")
ANSWER = "<think>I can read it.</think>\n<answer>472</answer>"


class UnsharedRollout(ScriptedRollout):
    """Gives the n-th prompt the script of sample n modulo group size."""

    def sample(self, groups, step, greedy=False):
        self.seen: dict[int, int] = {}
        super().sample(groups, step, greedy)

    def turns_of(self, branch):
        number = self.seen.setdefault(id(branch.prompt), len(self.seen))
        return self.script[number % len(self.script)]


def configured(*overrides: str):
    """The configuration of src/train.py with these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=["paths.output_dir=unused", *overrides])


def build(questions: int, group: int, budget: int, overrides: Sequence[str] = ()):
    """The module of the default configuration, a scripted rollout for each path, and the examples."""
    cfg = configured(f"algorithm.microbatch_tokens={budget}", *overrides)
    module = build_module(cfg)
    script = [[ANSWER] if g % 4 == 0 else [zoom([9 * g % 112, 7 * g % 84]), ANSWER] for g in range(group)]
    parts = module.policy, module.rollout.dialogue
    rollouts = {
        "shared": ScriptedRollout(
            *parts, script=script, prompts_per_batch=questions, fixed_shapes=module.rollout.fixed_shapes
        ),
        "unshared": UnsharedRollout(*parts, script=script, prompts_per_batch=questions * group),
        "reference": UnsharedRollout(*parts, script=script, prompts_per_batch=1),
    }
    data = instantiate(cfg.data).train
    return module, rollouts, [data[i] for i in range(questions)]


def zoom(keypoint: list[int]) -> str:
    """A turn that calls the tool."""
    call = FORMS["keypoint_yaml"].write("zoom", {"keypoint": str(keypoint)})
    return f"<think>The text is small, zoom in.</think>\n<tool>{call}</tool>"


def filled(tokenizer, ending: list[int], length: int) -> list[int]:
    """A turn of this length that ends so, with filler before it."""
    (filler,) = tokenizer.encode(" oh", add_special_tokens=False)[:1]
    return [filler] * (length - len(ending)) + ending


def unshared_groups(groups: list[Group]) -> list[Group]:
    """Every trajectory as its own group."""
    return [Group(g.example, g.prompt, [t]) for g in groups for t in g.trajectories]


def shared_rollout(rollout, examples, group):
    return rollout(examples, group, step=0)[0]


def unshared_rollout(rollout, examples, group):
    """One prompt per trajectory, in batches of the rollout's ``prompts_per_batch``."""
    return rollout([example for example in examples for _ in range(group)], 1, step=0)[0]


def reward(module, groups):
    module.assign_rewards(groups, step=0)


def optimizer_step(module, optimizer):
    for parameter in module.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.nn.utils.clip_grad_norm_(module.policy.parameters(), module.max_grad_norm)
    optimizer.step()


def shared_update(module, groups):
    budget = module.objective.microbatch_tokens
    update.backward(module.policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, budget)
    module.policy.zero_grad()


def unshared_update(module, groups):
    shared_update(module, unshared_groups(groups))


def reference_update(module, groups):
    for group in groups:
        for trajectory in group.trajectories:
            reference.logprobs(module.policy, group.prompt, trajectory, 1.0).sum().backward()
    module.policy.zero_grad()


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def read_settings() -> tuple[dict[str, int], str]:
    """The settings on the command line, and the size of the model; exits with one line for any that are wrong."""
    settings = {"questions": 16, "group": 8, "repeats": 5, "threads": torch.get_num_threads(), "budget": 16384}
    size = next(iter(SIZES))
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name == "size" and value in SIZES:
            size = value
        elif name not in settings or not value.isdigit() or int(value) < 1:
            names = ", ".join(settings)
            sys.exit(f"error: {argument}: give {names} as name=number, 1 or more, or size={' or '.join(SIZES)}")
        else:
            settings[name] = int(value)
    return settings, size


def main() -> None:
    settings, parameters = read_settings()
    torch.set_num_threads(settings["threads"])
    size, group = settings["questions"], settings["group"]
    module, rollouts, examples = build(size, group, settings["budget"], SIZES[parameters])
    groups = shared_rollout(rollouts["shared"], examples, group)
    optimizer = module.configure_optimizers()["optimizer"]
    shared_update(module, groups)
    phases = {
        ("rollout", "shared"): (size * group, shared_rollout, rollouts["shared"], examples, group),
        ("rollout", "unshared"): (size * group, unshared_rollout, rollouts["unshared"], examples, group),
        ("rollout", "reference"): (group, unshared_rollout, rollouts["reference"], examples[:1], group),
        ("reward", "shared"): (size * group, reward, module, groups),
        ("update", "shared"): (size * group, shared_update, module, groups),
        ("update", "unshared"): (size * group, unshared_update, module, groups),
        ("update", "reference"): (group, reference_update, module, groups[:1]),
        ("optimizer", "shared"): (size * group, optimizer_step, module, optimizer),
    }
    took = {key: [] for key in phases}
    for _ in range(settings["repeats"]):  # interleaved, so that a slow moment of the machine affects all paths alike
        for key, (count, *work) in phases.items():
            took[key].append(seconds(*work) / count)
    each = {key: median(values) for key, values in took.items()}  # seconds per trajectory
    for path in PATHS:
        each["step", path] = sum(each.get((phase, path), each[phase, "shared"]) for phase in PHASES)
    print(", ".join(f"{name} {value}" for name, value in (settings | {"size": parameters}).items()))
    print(f"{'phase':<11}{'path':<10}{'trajectories/s':>16}{'shared is faster by':>21}")
    for phase in (*PHASES, "step"):
        for path in PATHS:
            if (phase, path) in each:
                time_taken = each[phase, path]
                print(f"{phase:<11}{path:<10}{1 / time_taken:>16.1f}{time_taken / each[phase, 'shared']:>20.2f}x")
    for phase in ("rollout", "update"):
        count, *work = phases[phase, "shared"]
        least = floor(*work) / count
        print(f"{phase}: {each[phase, 'shared'] / least:.1f} times its matrix products alone")


if __name__ == "__main__":
    main()
