"""The parts of the GPU kit (``gpu.py``), each of which runs in a process of its own.

    python benchmarks/gpu_parts.py exact '{"precision": "float32"}'

The last line that is printed is what the part found, as json. All of them use the card if there is one, else the CPU.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import memory
import rollout_engines
import step
import torch
import whole_run as commands
from watch import DEVICE, GIB, Watch, peak

from loupe.engine import kernels, reference, update
from loupe.engine.scripted import ScriptedRollout
from loupe.models import qwen
from loupe.models.load import load_policy, save_policy
from loupe.paths import PROJECT
from loupe.runs.build import build_module
from loupe.runs.config import instantiate
from loupe.runs.provenance import versions

FLOAT32 = 1e-3
"""The largest difference between log-probabilities, and between gradients relative to their norm, in float32."""
BFLOAT16 = 2.0
"""How many times as far from the plain path in float32 the engine may be as the plain path in bfloat16 is."""
THINK = "<think>"

Scored = tuple[torch.Tensor, torch.Tensor]
"""The log-probabilities of all sampled tokens, and the gradient of their sum."""


def environment() -> dict:
    """The device, and the versions of what computes on it."""
    found = {"device": f"CPU ({platform.machine()})", "threads": torch.get_num_threads()}
    if DEVICE.type == "cuda":
        about = torch.cuda.get_device_properties(DEVICE)
        found = {"device": about.name, "GiB": about.total_memory / GIB, "capability": f"{about.major}.{about.minor}"}
        found |= {"driver": driver(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found | {"python": platform.python_version()} | versions()


def driver() -> str:
    """The version of the card's driver, which torch does not tell."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]


def exact(precision: str, questions: int = 2, group: int = 8, graphs: bool = False, efficient: bool = False) -> dict:
    """Log-probabilities and gradients of the miniature's engine against the plain path in float32.

    The trajectories are scripted, three in four with a zoom. graphs: decode by CUDA graphs. efficient: attend by
    torch's memory-efficient kernel, for which the miniature's blocks are too small. Raises ValueError where the engine
    is not as close as it should be: ``FLOAT32``, ``BFLOAT16``.
    """
    if efficient:
        kernels.MANY_QUERIES = 1
    module, rollouts, examples = step.build(questions, group, 4096, [f"rollout.fixed_shapes={graphs}"])
    policy, rollout, found = module.policy.to(DEVICE), rollouts["shared"], {}
    groups, _ = rollout(examples, group, step=0)
    expected = plain(policy, groups)
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if precision == "bfloat16":
            found["plain path"] = distances(plain(policy, groups), expected)
        groups, _ = rollout(examples, group, step=0)  # the same tokens
        ours = shared(policy, groups)
    sampled = torch.tensor([x for group in groups for t in group.trajectories for x in t.sampled_logprobs])
    gaps = (sampled - ours[0]).abs()
    found |= {
        "engine": distances(ours, expected),
        "ratio/logprob_gap": gaps.mean().item(),
        "largest": gaps.max().item(),
    }
    found["allowed"] = dict.fromkeys(found["engine"], FLOAT32)
    if precision == "bfloat16":
        found["allowed"] = {name: BFLOAT16 * distance for name, distance in found["plain path"].items()}
    require_close(found)
    return found


def require_close(found: dict) -> None:
    """Raise ValueError where the engine is further from the plain path than allowed."""
    for name, off in found["engine"].items():
        if not off <= (allowed := found["allowed"][name]):
            raise ValueError(f"{name}: {off:.2g} from the plain path in float32, but {allowed:.2g} is allowed")


def shared(policy, groups) -> Scored:
    """As the engine computes it."""
    rows = {id(trajectory): row for trajectory, row in update.logprobs(policy, groups, 1.0, 4096)}
    update.backward(policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, 4096)
    return torch.tensor([x for group in groups for t in group.trajectories for x in rows[id(t)]]), gradient(policy)


def plain(policy, groups) -> Scored:
    """Every trajectory alone."""
    logprobs = []
    for group in groups:
        for trajectory in group.trajectories:
            logprobs.append(reference.logprobs(policy, group.prompt, trajectory, 1.0))
            logprobs[-1].sum().backward()
    return torch.cat(logprobs).detach().cpu(), gradient(policy)


def gradient(policy) -> torch.Tensor:
    """The gradient of all parameters as one vector; the policy then has none."""
    whole = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]).cpu()
    policy.zero_grad()
    return whole


def distances(found: Scored, expected: Scored) -> dict[str, float]:
    logp, slope = (one - other for one, other in zip(found, expected, strict=True))
    return {
        "largest gap": logp.abs().max().item(),
        "mean gap": logp.abs().mean().item(),
        "gradient": (slope.norm() / expected[1].norm()).item(),
    }


def main_job(overrides: list[str]) -> dict:
    """``python src/train.py logger=none`` with more overrides; held-out scores before and after."""
    sys.path.insert(0, str(PROJECT / "src"))
    import train

    with tempfile.TemporaryDirectory() as folder:
        cfg = step.configured("logger=none", "trainer.enable_progress_bar=false", *overrides)
        cfg.paths.output_dir = folder
        summary = train.train(cfg)
    found = {"steps": cfg.trainer.max_steps, "seconds of training": summary["seconds"]}
    for when in ("before", "after"):
        found[f"score {when}"] = {part: score["mean"] for part, score in summary[when]["score"].items()}
    return found


def large_step(overrides: list[str], tokens: int, size: str | None = None, four_bit: bool = False) -> dict:
    """Whole training steps with these overrides of src/train.py; times are those of the last step.

    One question; every trajectory thinks, zooms, thinks and answers, with ``tokens`` tokens in each turn. size: of the
    Qwen2.5-VL that has random weights instead of the published ones.
    """
    unloaded, begun = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if four_bit:  # weights become 4-bit weights when they are loaded
            overrides = [*overrides, write_random(size, Path(folder)), "model.four_bit=true"]
        cfg = step.configured("data.batch_size=1", "trainer.enable_progress_bar=false", *overrides)
        with DEVICE:  # random weights take minutes on one core
            module = build_module(cfg)
    built, watch = time.perf_counter() - begun, watched(module, tokens)
    options = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0}
    instantiate(cfg.trainer, **options).fit(module, instantiate(cfg.data))
    measured, (group,) = peak() - unloaded, watch.groups
    factors = [p for name, p in module.policy.named_parameters() if "lora_B" in name]  # they begin at zero
    found = {
        "picture tokens": group.prompt.images[0].tokens(module.policy.merge),
        "crop tokens": group.trajectories[0].images[0].tokens(module.policy.merge),
        "adapters changed": sum(bool(factor.any()) for factor in factors) / len(factors),
        **{key: watch.report[key] for key in ("loss", "grad_norm", "ratio/logprob_gap")},
        **{"GiB": measured, "GiB before the model": unloaded, "seconds of building": built},
        **watch.speed(),
    }
    if DEVICE.type == "cuda":
        found["GiB reserved"] = torch.cuda.max_memory_reserved() / GIB
    if size and not four_bit:
        _, found["GiB computed"] = memory.measure(partial(memory.without_contents, group), size=size)
    return found


def write_random(size: str, folder: Path) -> str:
    """Write a Qwen2.5-VL with random weights; returns the override that names it."""
    with DEVICE:  # billions of random weights take minutes on one core
        save_policy(load_policy(None, partial(qwen.build, size), dtype="bfloat16", trainable=False), folder)
    return f"model.path={folder}"


def watched(module, tokens: int) -> Watch:
    """Let the module's rollout follow a script, and a watch time its phases."""
    rollout, watch, tokenizer = module.rollout, Watch(), module.policy.tokenizer
    ids, filled = partial(tokenizer.encode, add_special_tokens=False), partial(step.filled, tokenizer)
    think = ids(THINK)
    endings = (ids(turn.removeprefix(THINK)) for turn in (step.zoom([30, 40]), step.ANSWER))
    zooms, answers = (think + filled(ending, tokens - len(think)) for ending in endings)
    if len(zooms) > tokens:
        raise ValueError(f"tokens={tokens}: must be {len(zooms)} or more, or the call is cut short")
    # Every other answer is cut short, because a group without differences in reward teaches nothing.
    pair = [zooms, answers], [zooms, filled(answers[:-1], tokens)]
    script = [pair[sample % 2] for sample in range(module.group_size)]
    parts = module.policy, rollout.dialogue
    module.rollout = ScriptedRollout(*parts, script=script, max_new_tokens=tokens, fixed_shapes=rollout.fixed_shapes)
    module.reporter = watch
    watch.wrap(module.rollout, "sample", "rollout")
    watch.wrap(module, "assign_rewards", "reward")
    watch.wrap(module, "optimize", "update")
    watch.wrap(module.policy, "encode_prompts", "prefill", lambda *_: "rollout" in watch.begun)
    watch.wrap(module.policy, "extend", "prefill", lambda *given: "rollout" in watch.begun and given[-1])  # of crops
    make_optimizer = module.make_optimizer

    def timed_optimizer(parameters):
        optimizer = make_optimizer(parameters)
        optimizer.register_step_pre_hook(lambda *_: watch.begin("optimizer"))
        optimizer.register_step_post_hook(lambda *_: watch.end("optimizer"))
        return optimizer

    module.make_optimizer = timed_optimizer
    return watch


def whole_run(overrides: list[str], steps: int, size: str | None = None) -> dict:
    """A training that is interrupted and resumed, and an evaluation: :mod:`whole_run`. size: as in large_step."""
    with tempfile.TemporaryDirectory() as folder:
        if size:
            overrides = [*overrides, write_random(size, Path(folder) / "base")]
        return commands.interrupted_and_resumed(Path(folder), overrides, steps)


def engines(overrides: list[str], group_sizes: list[int], lengths: list[int]) -> dict:
    """Tokens per second of the packed decoder and of vLLM, by group size and length of the turns."""
    rows = rollout_engines.compared(overrides, group_sizes=group_sizes, lengths=lengths)
    rates = ("packed tok/s", "vLLM tok/s")
    return {f"{row['group']} x {row['length']}": {name: row[name] for name in rates} for row in rows}


PARTS = {function.__name__: function for function in (environment, exact, main_job, large_step, whole_run, engines)}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](**json.loads(sys.argv[2]))))
