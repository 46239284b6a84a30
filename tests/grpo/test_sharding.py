"""What a single process shows of shards; tests/grpo/test_distributed.py has two."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from conftest import MIXED, scripted
from helpers.steps import weights

from loupe.engine import update
from loupe.engine.policy import Policy
from loupe.errors import UserError
from loupe.grpo.sharding import Shards, Zero, lower
from loupe.models import tiny


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_only_what_linear_layers_use_is_lowered_and_the_rows_keep_every_digit(group):
    policy = Policy(*tiny.build(seed=0))
    before = weights(policy)
    shards = Shards(policy, torch.bfloat16)
    low = {name for name, weight in policy.named_parameters() if weight.dtype == torch.bfloat16}
    assert "model.model.language_model.layers.0.mlp.up_proj.weight" in low
    assert not any("norm" in name or "embed" in name for name in low)  # the embedding is also the output layer
    layer = policy.backbone.model.language_model.layers[0].mlp.up_proj
    for size in (1.0, 2.0**-12):  # which bfloat16 would lose beside 1
        (layer.weight.sum() * size).backward()
    assert layer.weight.grad.dtype == torch.float32 and (layer.weight.grad == 1 + 2.0**-12).all()
    optimizer = torch.optim.SGD(policy.parameters(), lr=2.0**-12)
    shards.take_over([optimizer])
    shards.sum_gradients()
    optimizer.step()
    name = next(name for name, weight in policy.named_parameters() if weight is layer.weight)
    before[name] -= 2.0**-12 * (1 + 2.0**-12)
    assert layer.weight.dtype == torch.bfloat16 and torch.equal(layer.weight, before[name].bfloat16())
    shards.dissolve()
    assert all(torch.allclose(weight, before[name], rtol=1e-6) for name, weight in policy.named_parameters())


def test_lowered_weights_have_the_gradients_of_autocast():
    policy = Policy(*tiny.build(seed=0))
    groups = scripted(policy, [MIXED[0]], count=1, max_new_tokens=60)

    def gradients():
        policy.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            update.backward(policy, groups, lambda _, logp, mask: (logp * mask).sum(), 1.0, 800)
        return {name: weight.grad for name, weight in policy.named_parameters()}

    whole = gradients()
    lower(policy, torch.bfloat16)
    for name, gradient in gradients().items():
        assert gradient.dtype == torch.float32 and gradient.any()
        assert torch.allclose(gradient, whole[name], rtol=1e-6), name


def test_the_state_of_an_optimizer_is_saved_and_read_as_without_shards(group):
    policy = Policy(*tiny.build(seed=0))
    shards, optimizer = Shards(policy), torch.optim.AdamW(policy.parameters(), lr=0.01)
    shards.take_over([optimizer])
    for weight in policy.parameters():
        weight.grad = torch.ones_like(weight)
    shards.sum_gradients()
    optimizer.step()
    saved = shards.optimizer_state(optimizer.state_dict())
    plain = torch.optim.AdamW([weight.detach().clone() for weight in policy.parameters()], lr=0.5)
    plain.load_state_dict(saved)
    moments = [plain.state[weight]["exp_avg"] for weight in plain.param_groups[0]["params"]]
    assert plain.param_groups[0]["lr"] == 0.01 and all(torch.allclose(m, torch.tensor(0.1)) for m in moments)
    optimizer.load_state_dict(shards.own_optimizer_state(optimizer, plain.state_dict()))
    again = shards.optimizer_state(optimizer.state_dict())["state"]
    assert all(torch.equal(again[i][key], value) for i, kept in saved["state"].items() for key, value in kept.items())


def test_an_optimizer_with_a_state_from_the_start_is_refused(group):
    policy = Policy(*tiny.build(seed=0))
    with pytest.raises(UserError, match="trainer=zero: cannot share out Adagrad, which has a state before its first"):
        Shards(policy).take_over([torch.optim.Adagrad(policy.parameters())])


@pytest.mark.parametrize(
    ("devices", "adapter", "message"),
    [(1, False, "trainer=zero: there is one device"), (2, True, "trainer=zero: an adapter's optimizer is small")],
)
def test_what_has_little_to_share_out_is_refused(devices, adapter, message):
    zero = Zero()
    zero._lightning_module = SimpleNamespace(policy=SimpleNamespace(has_adapter=adapter))
    with pytest.raises(UserError, match=message):
        zero.setup(SimpleNamespace(world_size=devices))
