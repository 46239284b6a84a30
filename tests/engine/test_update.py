"""The shared-prefix update against the plain path: every trajectory alone, no cache, positions by transformers."""

import pytest
import torch
from conftest import ANSWER, MIXED, call, examples, make_rollout, scripted
from helpers.compare import assert_close, assert_norms_close
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from loupe.engine import reference, update
from loupe.engine.branches import Branches, PackedBranch
from loupe.engine.policy import Policy, entropy
from loupe.models.load import load_policy
from loupe.models.tiny import build
from loupe.records import Group

LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target": "all-linear"}


def random_weights(groups):
    generator = torch.Generator().manual_seed(0)
    return {id(t): torch.randn(1, generator=generator).item() for g in groups for t in g.trajectories}


def shared_gradients(policy, groups, weights, budget, temperature=1.0):
    def loss_of(trajectories, logp, mask):
        return (logp * mask).sum(1) @ torch.tensor([weights[id(t)] for t in trajectories], dtype=logp.dtype)

    update.backward(policy, groups, loss_of, temperature, budget)
    return take_gradients(policy)


def plain_gradients(policy, groups, weights, temperature=1.0):
    for group in groups:
        for t in group.trajectories:
            (reference.logprobs(policy, group.prompt, t, temperature).sum() * weights[id(t)]).backward()
    return take_gradients(policy)


def take_gradients(policy):
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return gradients


@pytest.fixture(scope="module", params=[None, LORA], ids=["full", "lora"])
def plain(request):
    """A policy, groups of its own with weights, and the gradients of the plain path."""
    policy = load_policy(None, build, request.param)
    if request.param:  # the second factor of an adapter begins at zero, and then the first has no gradient
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(1))
    groups = scripted(policy, MIXED, count=2, max_new_tokens=60, temperature=0.8)
    weights = random_weights(groups)
    policy.train()
    return policy, groups, weights, plain_gradients(policy, groups, weights, temperature=0.8)


@pytest.mark.parametrize("budget", [1, 700, 100_000], ids=["one by one", "some", "all at once"])
def test_gradients_equal_the_plain_path(plain, budget):
    policy, groups, weights, expected = plain
    ours = shared_gradients(policy, groups, weights, budget, temperature=0.8)
    assert expected.keys() == {name for name, p in policy.named_parameters() if p.requires_grad}
    assert_norms_close(ours, expected, 1e-4)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_recomputed_activations_change_no_gradient(lora):
    found, groups = [], []
    for recompute in (False, True):
        torch.manual_seed(0)  # of the adapter's first factor
        policy = load_policy(None, build, lora, recompute=recompute)
        groups = groups or scripted(policy, MIXED, count=2, max_new_tokens=60)
        found.append(shared_gradients(policy, groups, random_weights(groups), 700))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_frozen_vision_tower_sees_each_picture_once(lora, monkeypatch):
    policy = load_policy(None, build, lora, train_vision=False)
    seen, look = [], policy.backbone.model.visual.forward

    def count(pixels, grid_thw, **options):
        seen.extend(pixels.sum((1,)).split(grid_thw.prod(-1).tolist()))
        return look(pixels, grid_thw, **options)

    monkeypatch.setattr(policy.backbone.model.visual, "forward", count)
    groups = scripted(policy, MIXED, count=2, max_new_tokens=60)
    ours = shared_gradients(policy, groups, weights := random_weights(groups), 700)
    crops = sum(len(trajectory.images) for group in groups for trajectory in group.trajectories)
    assert len(seen) == 2 + crops
    assert_norms_close(ours, plain_gradients(policy, groups, weights), 1e-4)
    assert not any(".visual." in name for name in ours)


def test_gradients_are_the_same_to_double_precision():
    policy = Policy(*build()).double()
    script = [[call("[20, 40]"), call("[90, 8]"), ANSWER], [call("[1, 1]"), ANSWER], [ANSWER]]
    groups = scripted(policy, script, count=2, max_calls=2, max_new_tokens=60)
    weights = random_weights(groups)
    expected = plain_gradients(policy, groups, weights)
    # transformers computes norms and rotations in float32 whatever the weights; that is the accuracy left
    assert_norms_close(shared_gradients(policy, groups, weights, 600), expected, 1e-6)


@pytest.fixture(scope="module")
def three(shared_policy):
    """Groups of three questions, to read only."""
    return scripted(shared_policy, MIXED, count=3, max_new_tokens=60)


@pytest.mark.parametrize("budget", [1, 100_000])
def test_logprobs_equal_those_of_the_rollout(shared_policy, three, budget):
    seen = 0
    for trajectory, logp in update.logprobs(shared_policy, three, 1.0, budget):
        assert_close(logp, trajectory.sampled_logprobs, atol=1e-4, name=f"log-probabilities of number {seen}")
        seen += 1
    assert seen == 3 * len(MIXED)


def test_trajectories_left_out_contribute_nothing(policy):
    groups = scripted(policy, MIXED, count=2, max_new_tokens=60)
    weights = random_weights(groups)
    kept = [Group(g.example, g.prompt, g.trajectories[2:4] if i else []) for i, g in enumerate(groups)]
    expected = plain_gradients(policy, kept, weights)
    assert_norms_close(shared_gradients(policy, kept, weights, 5000), expected, 1e-4)


def test_entropies_and_their_gradients_equal_the_plain_path(policy):
    groups = scripted(policy, MIXED[:3], count=2, max_new_tokens=60, temperature=0.8)
    weights, seen = random_weights(groups), {}

    def loss_of(trajectories, logp, mask, entropies):
        seen.update({id(t): row[: t.n_sampled].tolist() for t, row in zip(trajectories, entropies, strict=True)})
        return (entropies * mask).sum(1) @ torch.tensor([weights[id(t)] for t in trajectories])

    for group in groups:
        for t in group.trajectories:
            (entropy(reference.distribution(policy, group.prompt, t, 0.8)).sum() * weights[id(t)]).backward()
    expected = take_gradients(policy)
    update.backward(policy, groups, loss_of, 0.8, 700, entropies=True)
    assert_norms_close(take_gradients(policy), expected, 1e-4)
    for t in (t for group in groups for t in group.trajectories):  # those that the rollout recorded
        assert seen[id(t)] == pytest.approx(t.entropies, abs=1e-4)


def test_no_group_at_all_leaves_no_gradient(policy):
    update.backward(policy, [], lambda *_: pytest.fail("nothing to compute"), 1.0, 100)
    assert take_gradients(policy) == {}


@pytest.mark.parametrize("budget", [1, 300, 1000, 100_000])
def test_micro_batches_deal_out_every_branch_once(three, budget):
    dealt = []
    for chunk in update.chunks(three, budget):
        for branches in update.micro_batches(chunk, budget):
            rows = {}
            for row, trajectory in branches:
                assert any(trajectory is t for t in chunk[row].trajectories)
                rows.setdefault(row, len(chunk[row].prompt.ids))
                rows[row] += len(trajectory.ids)
            if len(branches) > len(rows):  # more than the one branch a row that is always allowed
                assert sum(rows.values()) <= budget
            dealt += [id(trajectory) for _, trajectory in branches]
    assert sorted(dealt) == sorted(id(t) for g in three for t in g.trajectories)


class LargestTensors(TorchDispatchMode):
    """Watches every tensor that is computed, in forward and backward passes.

    copies: the most prefixes alive at once, in all tensors that are shaped like keys or values ([rows, heads, tokens,
    head width]) of at least ``prefix`` tokens; a storage counts once, as long as it lives.
    logits: elements of the largest [.., vocabulary] tensor.
    """

    def __init__(self, prefix, head_width, head_weight):
        super().__init__()
        self.prefix, self.head_width, self.head_weight = prefix, head_width, head_weight
        self.copies = self.logits = 0
        self.alive = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.dim():
                self.watch(tensor)
        return out

    def watch(self, tensor):
        vocabulary, hidden = self.head_weight.shape
        if tensor.shape[-1] == vocabulary and tensor.shape != (hidden, vocabulary):  # the weight itself
            self.logits = max(self.logits, tensor.numel())
        if tensor.dim() == 4 and tensor.shape[-1] == self.head_width and tensor.shape[-2] >= self.prefix:
            storage = StorageWeakRef(tensor.untyped_storage())
            self.alive[storage.cdata] = (storage, tensor.shape[0] * (tensor.shape[-2] // self.prefix))
            self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
            self.copies = max(self.copies, sum(copies for _, copies in self.alive.values()))


def measure(policy, group_size, budget, share=True):
    """One rollout and one update of a single question with a long prefix and short answers."""
    policy.logits_chunk = 2
    rollout = make_rollout(policy, max_new_tokens=3)
    rollout.dialogue.system = "Answer. " * 100
    head = policy.backbone.config.text_config
    prefix = len(rollout.dialogue.prompt(examples(1)[0]).ids)
    assert prefix > 16 * 3  # branches alone never look like a prefix
    head_width = head.hidden_size // head.num_attention_heads
    groups, _ = rollout(examples(1), group_size, step=0)
    with LargestTensors(prefix, head_width, policy.backbone.lm_head.weight) as seen:
        rollout(examples(1), group_size, step=0)
        groups = groups if share else [Group(g.example, g.prompt, [t]) for g in groups for t in g.trajectories]
        update.backward(policy, groups, lambda t, logp, mask: (logp * mask).sum(), 1.0, budget)
    policy.zero_grad()
    return seen


@pytest.mark.parametrize("budget", [1, 100_000], ids=["one branch a micro-batch", "one micro-batch"])
def test_prefix_copies_and_logits_do_not_grow_with_the_group(policy, budget):
    small, large = measure(policy, 2, budget), measure(policy, 16, budget)
    assert small.copies == large.copies > 0
    assert small.logits == large.logits == 2 * policy.backbone.config.text_config.vocab_size


def test_the_count_of_copies_would_notice(policy):
    """Without sharing, the same count does grow."""
    small, large = (measure(policy, size, 100_000, share=False) for size in (2, 16))
    assert large.copies > 4 * small.copies


def test_chunks_do_not_outlive_each_other(policy):
    """Two questions, each a chunk of its own: no more prefixes alive than for one."""
    one, two = (scripted(policy, MIXED[:2], count=count, max_new_tokens=60) for count in (1, 2))
    head = policy.backbone.config.text_config
    seen = []
    for groups in (one, two):
        prefix = min(len(group.prompt.ids) for group in groups)
        with LargestTensors(
            prefix, head.hidden_size // head.num_attention_heads, policy.backbone.lm_head.weight
        ) as now:
            update.backward(policy, groups, lambda t, logp, mask: (logp * mask).sum(), 1.0, 1)
        seen.append(now.copies)
    assert seen[0] == seen[1]


def test_an_adapter_on_some_layers_only(tmp_path):
    """The keys of the first layer then depend on nothing that is trained."""
    policy = load_policy(None, build, LORA | {"target": ["q_proj", "v_proj"]})
    groups = scripted(policy, MIXED, count=2, max_new_tokens=60)
    weights = random_weights(groups)
    expected = plain_gradients(policy, groups, weights)
    assert_norms_close(shared_gradients(policy, groups, weights, 700), expected, 1e-4)


class Cost(TorchDispatchMode):
    """Counts the elements that operations compute, and the products in matrix multiplications and attention."""

    def __init__(self):
        super().__init__()
        self.elements = self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements += tensor.numel()
        tensors = [tensor for tensor in args if isinstance(tensor, torch.Tensor)]
        if function._schema.name in ("aten::mm", "aten::bmm"):
            self.products += tensors[0].numel() * tensors[1].shape[-1]
        elif "flash_attention_for_cpu" in function._schema.name:
            queries, keys = tensors[1:3] if "backward" in function._schema.name else tensors[:2]
            self.products += queries.numel() * keys.shape[-2]
        return out


def costs(policy, group_size):
    """Of decoding two tokens, the second of them behind a first, and of the update."""
    groups = scripted(policy, MIXED[:1] * group_size, max_new_tokens=60)
    prefixes = policy.encode_prefixes([(group.prompt.ids, group.prompt.images) for group in groups])
    position = prefixes.next_positions[0]
    live = [PackedBranch(t, groups[0].prompt, None, position=position) for t in groups[0].trajectories]
    branches = Branches(policy, prefixes, live)
    with torch.no_grad(), Cost() as decoding:
        for _ in range(2):
            for branch in live:
                branch.pending = [65]
            branches.compute_pending(live)
    with Cost() as updating:
        update.backward(policy, groups, lambda t, logp, mask: (logp * mask).sum(), 1.0, 100_000)
    policy.zero_grad()
    return decoding, updating


def test_cost_is_linear_in_the_group(policy):
    """From 8 to 64 trajectories the cost of each is what it is from 2 to 8."""
    policy.logits_chunk = 1
    small, medium, large = (costs(policy, size) for size in (2, 8, 64))
    for few, some, many in zip(small, medium, large, strict=True):
        for unit in ("elements", "products"):
            one, two, three = (getattr(cost, unit) for cost in (few, some, many))
            assert one > 0
            assert (three - two) / (64 - 8) == pytest.approx((two - one) / (8 - 2), rel=0.01)
