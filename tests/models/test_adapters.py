"""What an adapter computes under autocast."""

from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from loupe.models import tiny
from loupe.models.adapters import leave_casts_to_autocast
from loupe.models.load import load_policy

LORA = {"r": 4, "alpha": 8}
IDS = torch.tensor([[5, 6, 7, 8]])


def by_peft(self, x, dtype):
    return x.to(dtype)


def loss_and_gradients(policy):
    loss = policy.model(input_ids=IDS, labels=IDS).loss
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    return [loss, *torch.autograd.grad(loss, list(trained.values()), allow_unused=True)]


@pytest.fixture
def policy():
    policy = load_policy(None, partial(tiny.build, seed=0), LORA, dtype="bfloat16", train_vision=False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # zeros, which would hide what reaches them
            parameter.data.normal_(generator=generator)
    return policy


def bytes_kept(policy):
    """For the backward pass."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage  # alive, so that no other takes its place

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda _: None):
        policy.model(input_ids=IDS)
    return sum(storage.nbytes() for storage in kept.values())


def test_inputs_that_are_not_converted_give_the_same_to_the_last_bit(policy, monkeypatch):
    with torch.autocast("cpu", torch.bfloat16):
        ours, kept = loss_and_gradients(policy), bytes_kept(policy)
    monkeypatch.setattr(BaseTunerLayer, "_cast_input_dtype", by_peft)
    with torch.autocast("cpu", torch.bfloat16):
        theirs, converted = loss_and_gradients(policy), bytes_kept(policy)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None)
    assert kept < converted


def test_variants_are_left_alone(policy):
    """DoRA computes the norms of its weights in the precision of its input."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], use_dora=True)
    model = get_peft_model(policy.model.unload(), config)
    leave_casts_to_autocast(model)
    assert all(m.cast_input_dtype_enabled is True for m in model.modules() if isinstance(m, BaseTunerLayer))


def test_without_autocast_inputs_are_converted(policy):
    assert loss_and_gradients(policy)[0].isfinite()
