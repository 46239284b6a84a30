"""The reference computation: one full forward pass per trajectory, without cache or sharing, positions by transformers.

Tests require the shared-prefix engine to agree with it, and benchmarks measure the engine against it.
"""

import torch

from loupe.engine.policy import Policy
from loupe.records import Prompt, Trajectory


def logprobs(policy: Policy, prompt: Prompt, trajectory: Trajectory, temperature: float) -> torch.Tensor:
    """Log-probability [n] of each of the n sampled tokens of a trajectory, differentiable."""
    tokens = [token for token, sampled in zip(trajectory.ids, trajectory.sampled, strict=True) if sampled]
    logp = distribution(policy, prompt, trajectory, temperature)
    return logp.gather(1, torch.tensor(tokens, device=policy.device)[:, None])[:, 0]


def distribution(policy: Policy, prompt: Prompt, trajectory: Trajectory, temperature: float) -> torch.Tensor:
    """Log-probabilities [n, V] over the vocabulary for each of the n sampled tokens of a trajectory, differentiable."""
    images = prompt.images + trajectory.images
    ids = torch.tensor([prompt.ids + trajectory.ids], device=policy.device)
    out = policy.backbone.model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == policy.image_token).long(),
        pixel_values=torch.cat([image.pixels for image in images]).to(policy.device, policy.backbone.dtype),
        image_grid_thw=torch.tensor([image.grid for image in images], device=policy.device),
        use_cache=False,
    )
    sampled = torch.tensor([0] * len(prompt.ids) + trajectory.sampled, device=policy.device)[1:].bool()
    return policy.log_distribution(out.last_hidden_state[0, :-1][sampled], temperature)
