"""The real engine against the packed decoder: greedy answers, log-probabilities, seeds, new weights (tests/vllm/run).

    python tests/vllm/real_engine.py [questions=500]

Prints a line for each check; ends with an error at the first one that fails.
"""

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

import torch
from hydra import compose, initialize_config_dir

import loupe.runs.cli  # noqa: F401  (registers the resolvers that the configuration uses)
from loupe.engine import update
from loupe.engine.rollout import GroupRollout
from loupe.engine.scripted import ScriptedRollout
from loupe.paths import CONF
from loupe.runs.build import build_module
from loupe.runs.config import instantiate
from loupe.tools.forms import FORMS
from loupe.vllm.protocol import Written
from loupe.vllm.rollout import decoder_of

LARGEST, MEAN = 1e-4, 1e-5
"""Allowed distances of log-probabilities in float32."""
DIALOGUES = {
    "one call": (),
    "two calls": ("tool.max_calls=2",),
    "failed calls": ("rollout.max_observation_tokens=12",),
    "cut short": ("rollout.max_new_tokens=20",),
}
"""Settings under which the questions are asked, an equal share under each."""


def built(*overrides: str):
    """The module of the miniature with rollout=vllm, the packed rollout of the same policy, and the questions."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["paths.output_dir=unused", "logger=none", "rollout=vllm", *overrides])
    module = build_module(cfg)
    ours = module.rollout
    names = ("max_new_tokens", "max_observation_tokens", "max_total_tokens", "temperature", "prompts_per_batch", "seed")
    packed = GroupRollout(module.policy, ours.dialogue, **{name: getattr(ours, name) for name in names})
    return module, packed, instantiate(cfg.data).train


def require(label: str, passed: bool, found: str) -> None:
    print(f"{'ok ' if passed else 'BAD'} {label}: {found}", flush=True)
    if not passed:
        sys.exit(1)


class CallingTwice(ScriptedRollout):
    """Calls the tool in two turns, which the miniature would not do by itself, and then answers greedily."""

    def _choose(self, logp, live):
        scripted = len(live[0].trajectory.turns) < len(self.script[0])
        return super()._choose(logp, live) if scripted else logp.argmax(-1)


class EngineCallingTwice:
    """The same by a real engine."""

    def __init__(self, engine, turns: list[list[int]]):
        self.engine, self.turns = engine, turns

    def write(self, requests, sampling):
        if not self.turns:
            return self.engine.write(requests, replace(sampling, greedy=True))
        turn = self.turns.pop(0)
        return [Written(request.ids, turn, [0.0] * len(turn)) for request in requests]


def check_two_calls(module, examples) -> None:
    """Three pictures and three turns, of which the last one is written freely."""
    rollout, tokenizer = module.rollout, module.policy.tokenizer
    texts = [
        f"<think>Look.</think>\n<tool>{FORMS['keypoint_yaml'].write('zoom', {'keypoint': where})}</tool>"
        for where in ("[30, 40]", "[70, 20]")
    ]
    turns = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    longest = {"max_new_tokens": max(64, *map(len, turns)), "prompts_per_batch": len(examples)}
    packed = CallingTwice(module.policy, rollout.dialogue, script=[turns], **longest)
    ours = replace(rollout, **longest)
    ours(examples[:1], 1, 0)  # the engine starts
    engine, ours.decoder.engine = ours.decoder.engine, EngineCallingTwice(ours.decoder.engine, list(turns))
    both = [trajectories(made(examples, 1, 0)[0]) for made in (ours, packed)]
    ours.decoder.engine = engine
    require_equal("two calls", list(zip(*both, strict=True)))


def trajectories(groups) -> Iterator:
    for group in groups:
        yield from group.trajectories


def require_equal_answers(label: str, rollout, packed, examples) -> None:
    """Greedy answers must be the same, token for token."""
    ours, theirs = (trajectories(made(examples, 1, 0, greedy=True)[0]) for made in (rollout, packed))
    require_equal(label, list(zip(ours, theirs, strict=True)))


def require_equal(label: str, pairs: list) -> None:
    same = sum((a.ids, a.stop, a.events) == (b.ids, b.stop, b.events) for a, b in pairs)
    turns = Counter(len(b.turns) for _, b in pairs)
    kinds = Counter(str(kind) for _, b in pairs for kind in (*(event.status for event in b.events), b.stop))
    require(
        label, same == len(pairs), f"{same} of {len(pairs)} greedy dialogues equal; turns {dict(turns)}; {dict(kinds)}"
    )


def require_equal_logprobs(label: str, module, groups) -> None:
    """The engine's log-probabilities of sampled tokens must be those of the update."""
    scored = update.logprobs(module.policy, groups, module.rollout.temperature, 16384)
    gaps = [abs(x - y) for t, row in scored for x, y in zip(row, t.sampled_logprobs, strict=True)]
    found = f"mean {fmean(gaps):.1e}, largest {max(gaps):.1e} over {len(gaps)} tokens"
    require(label, max(gaps) <= LARGEST and fmean(gaps) <= MEAN, found)


@torch.no_grad()
def move(policy) -> None:
    """Change every trained weight a little."""
    random = torch.Generator().manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            scale = parameter.std() if parameter.numel() > 1 and parameter.std() > 0 else 1 / 8
            parameter += 0.03 * scale * torch.randn(parameter.shape, generator=random)


def check_sampling(module, examples) -> None:
    rollout = module.rollout
    for rollout.temperature in (1.0, 0.6):
        label = f"sampled at temperature {rollout.temperature}"
        require_equal_logprobs(label, module, rollout(examples[:16], 8, 1)[0])
    rollout.temperature = 1.0
    first = [t.ids for t in trajectories(rollout(examples[:8], 4, 3)[0])]
    again = [t.ids for t in trajectories(rollout(examples[:8], 4, 3)[0])]
    alone = [t.ids for example in examples[:8] for t in trajectories(rollout([example], 4, 3)[0])]
    other = [t.ids for t in trajectories(rollout(examples[:8], 4, 4)[0])]
    require("seeds", first == again == alone and first != other, f"{len(first)} samples repeated, together and alone")


def check_refresh(label: str, module, packed, examples) -> None:
    """New weights are taken over; without a word of them, the engine goes on with the old ones."""
    rollout, few = module.rollout, examples[:32]
    before = [t.ids for t in trajectories(rollout(few, 1, 0, greedy=True)[0])]
    for _ in range(3):
        move(module.policy)
        rollout.decoder.refresh()
        require_equal_logprobs(f"{label}, sampled", module, rollout(few, 2, 1)[0])
    require_equal_answers(f"{label}, greedy", rollout, packed, few)
    after = [t.ids for t in trajectories(rollout(few, 1, 0, greedy=True)[0])]
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    require(f"{label}, answers", changed > 0, f"{changed} of {len(few)} are others than before")


def main() -> None:
    given = dict(argument.split("=") for argument in sys.argv[1:])
    count = int(given.get("questions", 500))
    torch.set_num_threads(1)
    for label, overrides in DIALOGUES.items():
        module, packed, data = built(*overrides)
        examples = [data[i] for i in range(count // len(DIALOGUES))]
        if label == "two calls":
            check_two_calls(module, examples)
            continue
        require_equal_answers(label, module.rollout, packed, examples)
        if label == "one call":
            check_sampling(module, examples)
            check_refresh("all weights", module, packed, examples)
    module, packed, data = built("model.lora={r: 8, alpha: 16}", "model.train_vision=false")
    check_refresh("adapter", module, packed, [data[i] for i in range(32)])
    decoder_of.cache_clear()
    gc.collect()


if __name__ == "__main__":  # the engine's process imports this file
    main()
