"""Invariants of every trajectory, always checked: a violation is a bug in the engine and stops the run."""

import math
from itertools import compress, groupby

from loupe.engine.policy import Policy
from loupe.records import OK, ImagePatches, Prompt, Trajectory


class InvariantError(AssertionError):
    """A trajectory is inconsistent."""


def check_trajectory(trajectory: Trajectory, prompt: Prompt, policy: Policy) -> None:
    """Raise :class:`InvariantError` unless

    1. image placeholders == merged grid cells == rows of pixels / merge², image by image;
    2. ids, sampled marks and log-probabilities have the same length;
    3. no sampled token is banned (an image, vision or padding placeholder);
    4. every sampled log-probability is finite and <= 0;
    5. there is one picture per call that showed one: a failed or truncated call left neither picture nor placeholders.
    """
    _require(len(trajectory.ids) == len(trajectory.sampled) == len(trajectory.logprobs), "lengths differ", trajectory)
    _check_images(prompt.ids, prompt.images, policy, trajectory)
    _check_images(trajectory.ids, trajectory.images, policy, trajectory)
    pictured = sum(event.pictured for event in trajectory.events if event.status == OK)
    _require(len(trajectory.images) == pictured, "a call that was not executed left a picture", trajectory)
    banned = policy.banned.intersection(compress(trajectory.ids, trajectory.sampled))
    _require(not banned, f"banned token {min(banned, default=None)} was sampled", trajectory)
    for logprob in trajectory.sampled_logprobs:
        _require(math.isfinite(logprob) and logprob <= 0, f"log-probability {logprob}", trajectory)


def _check_images(ids: list[int], images: list[ImagePatches], policy: Policy, trajectory: Trajectory) -> None:
    """Placeholders occur in runs, one run per picture (vision start and end tokens separate them)."""
    runs = [len(list(run)) for token, run in groupby(ids) if token == policy.image_token]
    cells = [image.tokens(policy.merge) for image in images]
    rows = [len(image.pixels) // policy.merge**2 for image in images]
    _require(runs == cells == rows, f"placeholders {runs}, grid cells {cells}, feature rows {rows}", trajectory)


def _require(condition: bool, message: str, trajectory: Trajectory) -> None:
    if not condition:
        raise InvariantError(f"sample {trajectory.sample}: {message}\n{trajectory.text}")
