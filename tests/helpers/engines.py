"""Engines without vLLM: the packed decoder on a copy of the policy, which keeps prefixes until it is told to forget."""

from __future__ import annotations

import numpy as np
import torch
from conftest import FRAME

from loupe.engine.decoder import THOUGHT_END, Sampling
from loupe.engine.packed import PackedDecoder, chosen_at_random
from loupe.engine.policy import Policy
from loupe.records import Group, ImagePatches, Prompt, Trajectory
from loupe.vllm.protocol import Request, Written


class FakeEngine:
    """See ``loupe.vllm.protocol.Engine``. script: what to write, by call and request, in place of samples."""

    dtype = torch.float32

    def __init__(self, policy: Policy, script: list[list[list[int]]] | None = None):
        self.policy, self.copy, self.script = policy, policy.frozen_copy(), script
        self.kept: dict[tuple, object] = {}
        self.copy.encode_prompts = self._prefixes
        self.requests: list[Request] = []
        self.events: list[str] = []

    def _prefixes(self, prompts: list[Prompt]):
        key = tuple(tuple(prompt.ids) for prompt in prompts)
        if key not in self.kept:
            self.kept[key] = Policy.encode_prompts(self.copy, prompts)
        return self.kept[key]

    def write(self, requests: list[Request], sampling: Sampling) -> list[Written]:
        self.requests += requests
        turns = self.script.pop(0) if self.script else None

        def scripted(logp, live):
            return torch.tensor([turns[b.trajectory.sample][len(b.trajectory.ids)] for b in live])

        decoder = PackedDecoder(self.copy, fixed_shapes=False, choose=scripted if turns else chosen_at_random)
        groups = [Group(None, self._prompt(asked), [Trajectory(i)]) for i, asked in enumerate(requests)]
        seeds = [asked.seed for asked in requests]
        batch = decoder.prefill(groups, lambda _, t: np.random.default_rng(seeds[t.sample]), sampling)
        for branch, asked in zip(batch.branches, requests, strict=True):
            branch.waiting = THOUGHT_END in asked.stops
            branch.turn_start = asked.max_tokens - sampling.max_tokens  # so that just these are left
        batch.decode(batch.branches)
        done = [branch.trajectory for branch in batch.branches]
        return [Written(r.ids, t.ids, t.logprobs) for r, t in zip(requests, done, strict=True)]

    def _prompt(self, asked: Request) -> Prompt:
        images: list[ImagePatches] = [self.copy.patches(picture) for picture in asked.pictures]
        return Prompt(asked.ids, images, asked.pictures[-1], asked.pictures[-1].size, FRAME)

    def load(self) -> None:
        self.copy.load_state_dict(self.policy.state_dict())

    def refresh(self) -> None:
        self.events.append("refresh")
        self.load()
        self.reset()

    def reset(self) -> None:
        self.kept.clear()

    def release(self) -> None:
        self.events.append("release")


class ForgetfulEngine(FakeEngine):
    """Takes over new weights, but goes on with prefixes that were computed with earlier ones."""

    def refresh(self) -> None:
        self.load()


class DeafEngine(FakeEngine):
    """Never takes over new weights."""

    def load(self) -> None:
        pass
