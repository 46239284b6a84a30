"""A vLLM engine in a process of its own: what it writes, the weights it has, and the memory it takes.

Its process ignores Ctrl-C, which a run answers by finishing its step, and ends with the run (``worker``).
"""

import os
import signal
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import torch

from loupe.engine.decoder import Sampling
from loupe.engine.policy import Policy
from loupe.errors import EngineLost, UserError
from loupe.vllm import requirements, weights
from loupe.vllm.protocol import PICTURES, Request, Written
from loupe.vllm.worker import EndsWithRun

ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked process would share torch's threads
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Unless the environment says otherwise."""


@dataclass(frozen=True)
class EngineSettings:
    """context: tokens of a whole dialogue. gpu_memory: share of a GPU's memory. gpus: that share the weights."""

    context: int
    gpu_memory: float
    gpus: int


class VllmEngine:
    """See ``protocol.Engine``. It computes in the precision in which the policy does when it starts."""

    def __init__(self, policy: Policy, settings: EngineSettings, dtype: torch.dtype):
        self.policy, self.dtype, self.awake = policy, dtype, True
        self.on_gpu = policy.device.type == "cuda"
        self._folder = TemporaryDirectory(prefix="loupe_vllm_")
        self.folder = Path(self._folder.name)
        weights.write_model(policy, self.folder, dtype)
        with _environment(self._variables(settings)), _ignoring_interrupts(), _lost():
            from vllm import LLM

            try:
                self.llm = LLM(**self._options(settings))
            except (RuntimeError, ValueError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(
                    f"rollout=vllm: the engine does not start ({reason}); the lines above name the cause, which may be "
                    "too little memory for rollout.context"
                ) from error
        with _lost():
            self.llm.collective_rpc("end_with", args=(os.getpid(),))
        client = weakref.ref(self.llm.llm_engine.engine_core)
        Thread(target=_end_waiting, args=[client], name="loupe_vllm", daemon=True).start()
        self.lora = None
        if policy.has_adapter:
            self._load_adapter()

    def _options(self, settings: EngineSettings) -> dict:
        options: dict = {
            "model": str(self.folder),
            "dtype": self.dtype,
            "max_model_len": settings.context,
            "limit_mm_per_prompt": {"image": PICTURES, "video": 0},
            "mm_processor_kwargs": {"do_resize": False},
            "logprobs_mode": "processed_logprobs",  # of the distribution that is sampled from
            "tensor_parallel_size": settings.gpus,
            "worker_extension_cls": f"{EndsWithRun.__module__}.{EndsWithRun.__qualname__}",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        if self.policy.has_adapter:
            largest = next(rank for rank in requirements.RANKS if rank >= requirements.rank(self.policy))
            options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": largest}
        if settings.gpus == 1:
            options |= {"distributed_executor_backend": "uni"}  # the engine's process computes itself
        if self.on_gpu:
            return options | {"gpu_memory_utilization": settings.gpu_memory, "enable_sleep_mode": True}
        # On CPUs, a request with a seed must not be cut into chunks.
        chunks: dict = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, settings.context)}
        return options | chunks | {"enforce_eager": True, "block_size": 32}

    def _variables(self, settings: EngineSettings) -> dict[str, str]:
        """Of the engine's processes alone: threads as here, and of the GPUs this process's own, and the next ones."""
        variables = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        if self.on_gpu:
            first = self.policy.device.index or 0
            variables["CUDA_VISIBLE_DEVICES"] = requirements.visible_gpus(first, settings.gpus)
        return variables

    def write(self, requests: Sequence[Request], sampling: Sampling) -> list[Written]:
        """See ``Engine``."""
        self._wake()
        token = self.policy.image_token
        prompts = [
            {"prompt_token_ids": collapsed(r.ids, token), "multi_modal_data": {"image": r.pictures}} for r in requests
        ]
        given = [self._parameters(request, sampling) for request in requests]
        with _lost():
            outs = self.llm.generate(prompts, given, use_tqdm=False, lora_request=self.lora)
        written = []
        for out in outs:
            turn = out.outputs[0]
            chosen = [scores[i].logprob for i, scores in zip(turn.token_ids, turn.logprobs, strict=True)]
            written.append(Written(list(out.prompt_token_ids), list(turn.token_ids), chosen))
        return written

    def _parameters(self, request: Request, sampling: Sampling):
        from vllm import SamplingParams

        return SamplingParams(
            temperature=0.0 if sampling.greedy else sampling.temperature,
            seed=request.seed,
            max_tokens=request.max_tokens,
            logprobs=0,  # of the chosen token alone
            stop=list(request.stops),
            include_stop_str_in_output=True,
            stop_token_ids=[self.policy.end_of_turn],
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            logit_bias=dict.fromkeys(self.policy.banned, float("-inf")),
        )

    def refresh(self) -> None:
        """See ``Engine``."""
        self._wake()
        if self.policy.has_adapter:
            self._load_adapter()
        else:
            weights.write_weights(self.policy, self.folder, self.dtype)
            with _lost():
                self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(self.folder)})
        self.reset()

    def _load_adapter(self) -> None:
        from vllm.lora.request import LoRARequest

        folder = self.folder / "adapter"
        weights.write_adapter(self.policy, folder)
        with _lost():
            self.llm.llm_engine.add_lora(LoRARequest("policy", 1, str(folder), load_inplace=True))
        self.lora = LoRARequest("policy", 1, str(folder))

    def reset(self) -> None:
        """See ``Engine``. Keys and values depend on the weights, and so do the features of pictures behind them."""
        with _lost():
            emptied = self.llm.reset_prefix_cache()
            self.llm.llm_engine.reset_encoder_cache()
        if not emptied:
            raise RuntimeError("vLLM has kept its prefix cache, as it does while requests are running")

    def release(self) -> None:
        """See ``Engine``. The weights move to the CPU's memory."""
        if self.on_gpu and self.awake:
            with _lost():
                self.llm.sleep(level=1)
            self.awake = False

    def _wake(self) -> None:
        if not self.awake:
            with _lost():
                self.llm.wake_up()
            self.awake = True


def collapsed(ids: list[int], image_token: int) -> list[int]:
    """One placeholder for each picture, which vLLM expands itself."""
    return [token for i, token in enumerate(ids) if token != image_token or i == 0 or ids[i - 1] != image_token]


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The variables that vLLM reads when it starts a process."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    earlier = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, before in earlier.items():
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes that are started within it never see Ctrl-C, nor the end of the terminal."""
    resource_tracker.ensure_running()  # its start would unblock the signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _end_waiting(client: weakref.ref) -> None:
    """Let whatever waits for an answer fail once the engine's process has ended. vLLM may leave it waiting forever."""
    from vllm.v1.engine.exceptions import EngineDeadError

    while (core := client()) is not None:
        if core.resources.engine_dead:
            core.outputs_queue.put(EngineDeadError())
            for answer in list(core.utility_results.values()):
                if not answer.done():
                    answer.set_exception(EngineDeadError())
        del core
        time.sleep(0.5)


@contextmanager
def _lost() -> Iterator[None]:
    """Explain in one line that the engine's process has ended."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise EngineLost(
            "the process of the vLLM engine has ended: it was killed, ran out of memory, or failed as it says above"
        ) from error
