"""The canary: a dialogue by which engine and update are compared whenever the engine has got new weights.

An engine that goes on with earlier weights, or with keys and values that were computed with them, samples from another
distribution than the one that is trained, and nothing else would tell.
"""

from dataclasses import replace
from statistics import fmean

import torch

from loupe.engine import update
from loupe.engine.decoder import Sampling
from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.records import Group, Trajectory
from loupe.vllm.protocol import Engine, request

ALLOWED = {torch.float32: 5e-5, torch.bfloat16: 0.1, torch.float16: 0.1}
"""The largest gap by the engine's precision: the mean over tokens of the distance of the two log-probabilities."""
TOKENS = 32
BUDGET = 16384
"""Tokens that the update computes at a time."""


class MismatchError(UserError):
    """The engine's distribution is not the policy's; the run stops."""


class Canary:
    """Asks the first question of the run again and again. allowed: the largest gap; None: by the precision."""

    def __init__(self, policy: Policy, allowed: float | None):
        self.policy, self.allowed = policy, allowed
        self.question: Group | None = None

    def check(self, engine: Engine, group: Group, sampling: Sampling) -> None:
        """Raise MismatchError, which names the cause, if the gap is too large. group: asked if it is the first."""
        self.question = self.question or group
        allowed = self.allowed or ALLOWED[engine.dtype]
        if (gap := self.gap(engine, sampling)) <= allowed:
            return
        engine.reset()
        stale = self.gap(engine, sampling) <= allowed
        cause = (
            "it kept keys, values or features of pictures that were computed with earlier weights"
            if stale
            else "it has not taken over the weights, or computes the model in another way"
        )
        raise MismatchError(
            f"vLLM samples from another distribution than the one that is trained: {cause} (the log-probabilities "
            f"differ by {gap:.2g}, rollout.canary_gap allows {allowed:g}); use rollout=packed"
        )

    def gap(self, engine: Engine, sampling: Sampling) -> float:
        """The mean distance of log-probabilities over the tokens of one turn."""
        assert self.question is not None
        prompt, trajectory = self.question.prompt, Trajectory(0)
        sampling, most = replace(sampling, greedy=False), min(TOKENS, sampling.max_tokens)
        asked = request(prompt.ids, prompt.images, seed=0, stops=sampling.turns.stop_texts, max_tokens=most)
        (written,) = engine.write([asked], sampling)
        for token, logprob in zip(written.ids, written.logprobs, strict=True):
            trajectory.append_sampled(token, logprob, None)
        group = Group(self.question.example, prompt, [trajectory])
        ((_, expected),) = update.logprobs(self.policy, [group], sampling.temperature, BUDGET)
        return fmean(abs(x - y) for x, y in zip(written.logprobs, expected, strict=True))
