"""``rollout=vllm``: the dialogue loop with a vLLM engine as its decoder."""

from dataclasses import dataclass, field
from functools import lru_cache

from loupe.engine.fixed import autocast_to
from loupe.engine.policy import Policy
from loupe.engine.rollout import GroupRollout
from loupe.errors import require_int, require_number
from loupe.vllm import requirements
from loupe.vllm.canary import Canary
from loupe.vllm.decoder import VllmDecoder
from loupe.vllm.engine import EngineSettings, VllmEngine


@dataclass(eq=False)
class VllmRollout(GroupRollout):
    """Samples groups of trajectories by vLLM. Greedy answers are those of the packed decoder, samples are others.

    context: tokens of a whole dialogue that the engine has room for. gpu_memory: share of a GPU's memory that it takes.
    gpus: over which its weights are distributed. canary_gap: see ``canary``; None: by the precision.
    """

    context: int = 4096
    gpu_memory: float = 0.4
    gpus: int = 1
    canary_gap: float | None = None
    fixed_shapes: bool | str = field(default=False, init=False)  # of the packed decoder

    def __post_init__(self) -> None:
        requirements.require_vllm()
        requirements.require_temperature(self.temperature)
        requirements.require_fitting(self.policy)
        requirements.require_callable(self.dialogue.tools)
        longest = self.policy.backbone.config.get_text_config().max_position_embeddings
        require_int("rollout.max_new_tokens", self.max_new_tokens, 1)
        require_int("rollout.context", self.context, self.max_new_tokens + 1, longest)
        require_int("rollout.gpus", self.gpus, 1)
        require_number("rollout.gpu_memory", self.gpu_memory, 0, 1, above=True)
        if self.canary_gap is not None:
            require_number("rollout.canary_gap", self.canary_gap, 0, above=True)
        require_int("rollout.max_total_tokens", self.max_total_tokens, 1)
        self.max_total_tokens = min(self.max_total_tokens, self.context - self.max_new_tokens)
        super().__post_init__()

    def make_decoder(self) -> VllmDecoder:
        """That of the policy, which all its rollouts share."""
        settings = EngineSettings(self.context, self.gpu_memory, self.gpus)
        return decoder_of(self.policy, settings, self.canary_gap)


@lru_cache(maxsize=1)  # the engine of an earlier job of a sweep ends when the next one begins
def decoder_of(policy: Policy, settings: EngineSettings, canary_gap: float | None) -> VllmDecoder:
    """The decoder of a policy."""

    def start() -> VllmEngine:
        requirements.require_own_gpus(settings.gpus)
        return VllmEngine(policy, settings, autocast_to(policy.device) or policy.backbone.dtype)

    return VllmDecoder(start, Canary(policy, canary_gap), settings.context)
