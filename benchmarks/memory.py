"""Memory of one update of Qwen2.5-VL, computed from shapes, without a GPU or weights.

    python benchmarks/memory.py [group=8] [resolution=1024] [reasoning=150]

Runs the engine on tensors that have a shape but no contents (torch's FakeTensorMode, bfloat16 autocast), and counts
the tensors that are alive. There is one question; every trajectory thinks, zooms once and answers. The count leaves out
what allocators and kernels add, and the rollout's memory, which is smaller. The 3B is trained with an adapter; then the
3B and the 7B are trained with all weights but the vision tower, by trainer=ddp and by trainer=zero.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.weak import WeakIdKeyDictionary

from loupe.engine import update
from loupe.engine.policy import Policy
from loupe.geometry import Frame
from loupe.grpo.sharding import lower
from loupe.models import qwen
from loupe.models.load import load_policy
from loupe.pictures import grid_size
from loupe.records import Group, ImagePatches, Prompt, Trajectory

LORA = {"r": 64, "alpha": 128, "target": "all-linear"}
GIB = 2**30
TEXT = 5  # any token id that is not a placeholder


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the peak."""

    def __init__(self):
        super().__init__()
        self.seen = WeakIdKeyDictionary()
        self.live = self.peak = 0

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        if storage not in self.seen:
            self.seen[storage] = True
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return out


def build(recompute: bool, size: str = "3b", lora: dict | None = LORA) -> Policy:
    """The policy of model=qwen2_5_vl_3b_lora, or _7b_, without contents. Call it in a FakeTensorMode."""
    dtype = "bfloat16" if lora else "float32"
    with torch.device("meta"):
        made = partial(qwen.build, size)
        policy = load_policy(None, made, lora, dtype=dtype, train_vision=False, recompute=recompute)
    by_id: dict[int, torch.nn.Parameter] = {}  # tied weights stay tied
    for module in policy.modules():
        for name, p in module._parameters.items():
            if p is not None:
                empty = torch.nn.Parameter(torch.empty(p.shape, dtype=p.dtype), requires_grad=p.requires_grad)
                module._parameters[name] = by_id.setdefault(id(p), empty)
        for name, b in module._buffers.items():
            module._buffers[name] = None if b is None else torch.empty(b.shape, dtype=b.dtype)
    return policy


def seen(policy: Policy, image: ImagePatches) -> ImagePatches:
    """A picture of this size that a frozen vision tower has processed already, without contents."""
    width = policy.backbone.config.text_config.hidden_size
    features = torch.empty(image.tokens(policy.merge), width, dtype=torch.bfloat16)
    return ImagePatches(torch.empty(0), image.grid, [features])


def without_contents(group: Group, policy: Policy) -> Group:
    """A group of the same lengths as ``group``. Call it in a FakeTensorMode."""
    images = [seen(policy, image) for image in group.prompt.images]
    trajectories = [replace(t, images=[seen(policy, image) for image in t.images]) for t in group.trajectories]
    return Group(None, replace(group.prompt, images=images), trajectories)


def make_group(size: int, resolution: int, reasoning: int, policy: Policy) -> Group:
    """A 4:3 picture, and for each trajectory a square crop with the same long side."""
    shown, crop = grid_size(4000, 3000, resolution), grid_size(400, 400, resolution, enlarge=True)

    def picture(width: int, height: int) -> ImagePatches:
        patch = policy.factor // policy.merge
        return seen(policy, ImagePatches(torch.empty(0), (1, height // patch, width // patch)))

    def placeholders(image: ImagePatches) -> list[int]:
        return [policy.image_token] * image.tokens(policy.merge)

    overview = picture(*shown)
    prompt = Prompt(
        [TEXT] * 120 + placeholders(overview) + [TEXT] * 40,
        [overview],
        None,
        shown,
        Frame.of("shown", shown, (4000, 3000)),
    )
    trajectories = []
    for sample in range(size):
        close_up = picture(*crop)
        trajectory = Trajectory(sample)
        for _ in range(reasoning):
            trajectory.append_sampled(TEXT, -0.1, 0.1)
        trajectory.append_written([TEXT] * 10 + placeholders(close_up) + [TEXT] * 10, [close_up])
        for _ in range(reasoning):
            trajectory.append_sampled(TEXT, -0.1, 0.1)
        trajectories.append(trajectory)
    return Group(None, prompt, trajectories)


def measure(
    make: Callable[[Policy], Group],
    recompute: bool = True,
    shared: bool = True,
    size: str = "3b",
    trainer: str | None = None,
) -> tuple[float, float]:
    """GiB of weights and optimizer, and at the peak of the update of the group that ``make`` returns.

    recompute: compute the MLPs a second time instead of keeping their activations. shared: as the engine does it;
    otherwise every trajectory has its own prefix, and all trajectories, with all their logits, are computed at once.
    size: of the model. trainer: None trains an adapter, "ddp" all weights but the vision tower, and so does "zero",
    without what it shares out (``shared_out``).
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        policy = build(recompute, size, lora=None if trainer else LORA).train()
        moments = sum(8 * p.numel() for p in policy.parameters() if p.requires_grad)  # AdamW's two
        if trainer == "zero":
            lower(policy, torch.bfloat16)
            moments = 0
        group, budget = make(policy), 2048
        groups = [group] if shared else [Group(None, group.prompt, [t]) for t in group.trajectories]
        if not shared:
            policy.logits_chunk = budget = 10**6
        meter = Meter()
        with meter, torch.autocast("cpu", torch.bfloat16):
            for parameter in policy.parameters():
                meter.add(parameter)
            meter.live += moments
            before = meter.live
            update.backward(policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, budget)
    return before / GIB, meter.peak / GIB


def shared_out(size: str) -> float:
    """GiB of the float32 weights and AdamW's moments that trainer=zero shares out."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return sum(12 * p.numel() for p in build(True, size, lora=None).parameters() if p.requires_grad) / GIB


def main(group: int = 8, resolution: int = 1024, reasoning: int = 150) -> None:
    make = partial(make_group, group, resolution, reasoning)
    print(f"one question x {group} trajectories, picture and crop at {resolution} px; GiB, computed from shapes")
    for name, recompute, shared in [
        ("shared prefix, one trajectory at a time, MLPs computed twice", True, True),
        ("shared prefix, one trajectory at a time", False, True),
        ("a prefix each, all at once, MLPs computed twice", True, False),
        ("a prefix each, all at once", False, False),
    ]:
        tell(name, *measure(make, recompute, shared))
    for size in ("3b", "7b"):
        tell(f"{size}, all weights, trainer=ddp", *measure(make, size=size, trainer="ddp"))
        whole, (before, peak) = shared_out(size), measure(make, size=size, trainer="zero")
        for gpus in (2, 4, 8):
            share = whole / gpus
            tell(f"{size}, all weights, trainer=zero, {gpus} GPUs", before + share, peak + share)


def tell(name: str, before: float, peak: float) -> None:
    print(f"{name:<62} weights and optimizer {before:5.1f}   peak {peak:5.1f}", flush=True)


if __name__ == "__main__":
    main(**{key: int(value) for key, value in (argument.split("=") for argument in sys.argv[1:])})
