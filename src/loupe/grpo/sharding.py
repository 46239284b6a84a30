"""Full weights on several GPUs: each rank keeps, and steps, its rows of every trained weight (``trainer=zero``).

ZeRO stage 1 (arXiv 1910.02054 §5.1) by torch's DTensor. The float32 weights and the moments of the optimizer are shared
out; for rollout and update, every rank computes with a whole copy, whose matrices are in the precision of autocast. At
the end of a step the gradients are summed into rows, each rank steps its own, and the copies are made anew. In between
no rank waits for another, however many passes it takes.
"""

from pathlib import Path
from typing import Any

import lightning
import torch
import torch.distributed as dist
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.optim import Optimizer

from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.grpo import distributed
from loupe.grpo.distributed import Ranks


class Shards:
    """The trained weights of a policy in float32, each rank with its rows. All ranks call these methods together.

    copies: the dtype in which the policy keeps the weights of its linear layers (``lower``), or None for float32.
    """

    def __init__(self, policy: Policy, copies: torch.dtype | None = None):
        self.mesh = init_device_mesh(policy.device.type, (dist.get_world_size(),))
        self.copies = {name: weight for name, weight in policy.named_parameters() if weight.requires_grad}
        self.rows = {name: self._own_rows(weight.detach()) for name, weight in self.copies.items()}
        for rows in self.rows.values():
            rows.requires_grad_()
        if copies is not None:
            lower(policy, copies)

    def take_over(self, optimizers: list[Optimizer]) -> None:
        """Let optimizers, made for the policy's weights, step the rows instead. The copies follow the last optimizer.

        Raises UserError for one that has a state before its first step.
        """
        rows_of = {weight: self.rows[name] for name, weight in self.copies.items()}
        for optimizer in optimizers:
            if optimizer.state:
                early = f"{type(optimizer).__name__}, which has a state before its first step"
                raise UserError(f"trainer=zero: cannot share out {early}; use torch.optim.AdamW")
            for group in optimizer.param_groups:
                group["params"] = [rows_of[weight] for weight in group["params"]]
        optimizers[-1].register_step_post_hook(lambda *_: self._update_copies())

    def sum_gradients(self) -> list[torch.Tensor]:
        """Move the gradients of all ranks, summed, from the copies to the rows; returns the rows."""
        distributed.fill_gradients(list(self.copies.values()))
        for name, weight in self.copies.items():
            if weight.grad is not None:
                part = DTensor.from_local(weight.grad, self.mesh, [Partial()], run_check=False)
                self.rows[name].grad = part.redistribute(placements=[Shard(0)])
                weight.grad = None
        return list(self.rows.values())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The whole weights, by their names in the policy, on the main rank; without contents on others."""
        return {name: _on_main(rows.detach()) for name, rows in self.rows.items()}

    def optimizer_state(self, state: dict) -> dict:
        """The state dict of an optimizer with whole tensors, as a single process saves it; see ``state_dict``."""
        return state | {"state": {i: {k: _on_main(v) for k, v in kept.items()} for i, kept in state["state"].items()}}

    def own_optimizer_state(self, optimizer: Optimizer, state: dict) -> dict:
        """The reverse of ``optimizer_state``: the state dict with this rank's rows of the tensors."""
        stepped = [rows for group in optimizer.param_groups for rows in group["params"]]

        def own(rows: DTensor, value: Any) -> Any:
            shared_out = isinstance(value, torch.Tensor) and value.shape == rows.shape
            return self._own_rows(value.to(rows.device)) if shared_out else value

        own_state = {i: {k: own(stepped[i], v) for k, v in kept.items()} for i, kept in state["state"].items()}
        return state | {"state": own_state}

    @torch.no_grad()
    def dissolve(self) -> None:
        """Give the policy its whole weights in float32 back."""
        for name, weight in self.copies.items():
            weight.data, weight.grad_dtype = self.rows.pop(name).full_tensor(), torch.float32

    @torch.no_grad()
    def _update_copies(self) -> None:
        for name, weight in self.copies.items():
            rows = self.rows[name].to(weight.dtype)  # first, so that less is sent
            assert isinstance(rows, DTensor)
            weight.copy_(rows.full_tensor())

    def _own_rows(self, whole: torch.Tensor) -> DTensor:
        return distribute_tensor(whole, self.mesh, [Shard(0)], src_data_rank=None)  # each rank has the whole


class Zero(Ranks):
    """``trainer=zero``: several processes that share out the float32 weights and the state of the optimizer (Shards).

    Checkpoints are those of a single process. Refuses a single device, and adapters, which have little to share out.
    """

    shards: Shards | None = None

    def setup(self, trainer: lightning.Trainer) -> None:
        if trainer.world_size == 1:
            raise UserError("trainer=zero: there is one device, so nothing to share out; leave trainer=zero out")
        if self.lightning_module.policy.has_adapter:
            fix = "use trainer=ddp, or train all weights (model.lora=null model.dtype=float32)"
            distributed.stop(UserError(f"trainer=zero: an adapter's optimizer is small already; {fix}"))
        super().setup(trainer)

    def configure_ddp(self) -> None:
        super().configure_ddp()
        low = isinstance(self.precision_plugin, MixedPrecision)
        self.shards = Shards(self.lightning_module.policy, torch.bfloat16 if low else None)
        self.lightning_module.shards = self.shards

    def setup_optimizers(self, trainer: lightning.Trainer) -> None:
        super().setup_optimizers(trainer)
        assert self.shards is not None
        try:
            self.shards.take_over(self.optimizers)
        except UserError as error:
            distributed.stop(error)

    def lightning_module_state_dict(self) -> dict:
        state = super().lightning_module_state_dict()
        weights = self.shards.state_dict() if self.shards else {}
        return state | {f"policy.{name}": whole for name, whole in weights.items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict:
        assert self.shards is not None
        return self.shards.optimizer_state(super().optimizer_state(optimizer))

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict:
        # Mapped, so that the processes of a machine share the memory instead of each reading all of it.
        return torch.load(checkpoint_path, map_location="cpu", mmap=True, weights_only=weights_only)

    def load_optimizer_state_dict(self, checkpoint: dict) -> None:
        assert self.shards is not None
        pairs = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        own = [self.shards.own_optimizer_state(*pair) for pair in pairs]
        super().load_optimizer_state_dict(checkpoint | {"optimizer_states": own})

    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)
        self._forget()  # the other ranks may not be there any more to gather the weights

    def teardown(self) -> None:
        if self.shards:
            self.shards.dissolve()
            self._forget()
        super().teardown()

    def _forget(self) -> None:
        self.optimizers: list[Optimizer] = []  # frees their state
        self.shards = self.lightning_module.shards = None


def _on_main(value: Any) -> Any:
    """A DTensor as a whole tensor in the memory of the main rank's CPU, without contents on others; or what it is."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if distributed.is_main() else whole.new_empty(0)


def lower(policy: Policy, dtype: torch.dtype) -> None:
    """Convert the trained weights that only linear layers use, as autocast would for each pass; not their gradients."""
    used: dict[bool, set[nn.Parameter]] = {True: set(), False: set()}
    for module in policy.modules():
        used[type(module) is nn.Linear].update(module.parameters(recurse=False))
    for weight in used[True] - used[False]:
        if weight.requires_grad:
            weight.data, weight.grad_dtype = weight.data.to(dtype), torch.float32
