"""The branches of a rollout: trajectories that are being sampled, and the context that they share."""

from dataclasses import dataclass, field

import numpy as np
import torch

from loupe.engine.packing import Context, Segment, pack
from loupe.engine.policy import Policy
from loupe.records import ImagePatches, Prompt, Trajectory


@dataclass
class Branch:
    """A trajectory that is being sampled: one branch of the rollout."""

    trajectory: Trajectory
    prompt: Prompt
    row: int  # of the context
    position: int  # M-RoPE position of the next token
    random: np.random.Generator
    pending: list[int] = field(default_factory=list)  # tokens not yet computed
    images: list[ImagePatches] = field(default_factory=list)  # behind the pending placeholders
    tail: str = ""  # end of the decoded turn, long enough for any stop text
    turn_start: int = 0


def compute_pending(policy: Policy, live: list[Branch], context: Context) -> torch.Tensor:
    """Extend the context by the pending tokens of all branches; returns the state [R, D] after each branch's last."""
    rows: list[list[Segment]] = [[] for _ in range(len(context.owners))]
    places = []  # (row, index within the row) of each branch
    for branch in live:
        owner = branch.trajectory.sample + 1
        segment, branch.position = policy.segment(owner, branch.pending, branch.images, branch.position)
        places.append((branch.row, len(rows[branch.row])))
        rows[branch.row].append(segment)
        branch.pending, branch.images = [], []
    packed = pack(rows, policy.pad_token, policy.device)
    hidden = policy.extend(context, packed)
    ends = [packed.offsets[row][i] + len(rows[row][i].ids) - 1 for row, i in places]
    return hidden[[row for row, _ in places], ends]


def keep_rows(context: Context, live: list[Branch]) -> Context:
    """Drop the prompts that no live branch needs, and renumber the rows of the branches."""
    rows = sorted({branch.row for branch in live})
    if len(rows) == len(context.owners):
        return context
    for branch in live:
        branch.row = rows.index(branch.row)
    return context.select(rows)
