import dataclasses
import json
import math
from copy import deepcopy
from functools import lru_cache
from statistics import fmean
from types import SimpleNamespace

import lightning
import pytest
import torch
from conftest import MIXED, compose_config, examples, make_rollout, scripted
from helpers.steps import Alone, make_module, score, weights

from loupe.data.datamodule import LoupeDataModule
from loupe.engine import reference, update
from loupe.engine.adapter import adapter_off
from loupe.engine.policy import Policy
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import NonFiniteError, UserError
from loupe.grpo import advantages
from loupe.grpo.losses import DAPO, GRPO
from loupe.grpo.optim import Clock, warmup_cosine
from loupe.grpo.skipped import EMPTY_BATCHES
from loupe.metrics.training import forced_share
from loupe.models.load import load_policy, save_policy
from loupe.models.tiny import build
from loupe.rewards.composite import CompositeReward
from loupe.runs.build import build_module


@lru_cache
def rolled_out(count):
    """MIXED, as every policy of these tests samples it before it is trained: an adapter begins at zero."""
    return scripted(Policy(*build()), MIXED, count=count, max_new_tokens=60)


def scored(module, count=2):
    groups = deepcopy(rolled_out(count))
    score(module, groups)
    return groups


def test_scoring_fills_in_rewards_and_advantages(policy, tmp_path):
    group = scored(make_module(policy, tmp_path), count=1)[0]
    rewards = torch.tensor([t.reward for t in group.trajectories])
    assert rewards.tolist() == [0, 0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0]  # 472 is not the number: only the tool term
    expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert [t.advantage for t in group.trajectories] == pytest.approx(expected.tolist(), abs=1e-5)


def test_shuffled_advantages_are_the_same_numbers_on_other_trajectories(policy, tmp_path):
    groups = scored(make_module(policy, tmp_path), count=6)
    earned = [[t.advantage for t in group.trajectories] for group in groups]
    module = make_module(policy, tmp_path, shuffle_advantages=True)
    score(module, groups)
    dealt = [[t.advantage for t in group.trajectories] for group in groups]
    assert [sorted(values) for values in dealt] == [sorted(values) for values in earned]
    assert sum(a != b for a, b in zip(dealt, earned, strict=True)) >= 5
    score(module, groups)
    assert dealt == [[t.advantage for t in group.trajectories] for group in groups]
    score(module, groups, step=1)
    assert dealt != [[t.advantage for t in group.trajectories] for group in groups]


def test_one_step_is_the_hand_written_policy_gradient(policy, tmp_path):
    """At ratio 1 the GRPO gradient is -sum_i A_i / (R |o_i|) sum_t grad logp; SGD subtracts lr times that."""
    module = make_module(policy, tmp_path)
    groups = scored(module)
    everyone = [(g, t) for g in groups for t in g.trajectories]
    for group, t in everyone:
        logp = reference.logprobs(policy, group.prompt, t, 1.0)
        (-logp.mean() * t.advantage / len(everyone)).backward()
    expected = {name: p.detach() - 0.1 * p.grad for name, p in policy.named_parameters()}
    policy.zero_grad()
    Alone(module)
    report = module.optimize(groups)
    assert all(torch.allclose(p, expected[name], atol=1e-5) for name, p in policy.named_parameters())
    assert report["ratio/mean"] == pytest.approx(1.0, abs=1e-4)
    assert report["clip/low_share"] == report["clip/high_share"] == 0
    assert 0 < report["ratio/logprob_gap"] < 1e-4


@pytest.mark.parametrize("learn", [True, "winning"])
def test_of_forced_trajectories_all_are_learned_or_those_that_win(policy, tmp_path, learn):
    """Those that lose have no gradient, and count in the weights."""
    rollout = make_rollout(policy, max_new_tokens=6, balance=1, learn_forced=learn)
    module = make_module(policy, tmp_path, rollout=rollout)
    groups = scored(module)
    everyone = [(group, t) for group in groups for t in group.trajectories]
    for number, (_, t) in enumerate(everyone):
        t.forced = "tool" if number % 3 else None
    losers = [t for _, t in everyone if t.forced and t.advantage <= 0]
    assert 2 < len(losers) < len(everyone) / 2
    for group, t in everyone:
        if learn is True or not any(t is loser for loser in losers):
            logp = reference.logprobs(policy, group.prompt, t, 1.0)
            (-logp.mean() * t.advantage / len(everyone)).backward()
    expected = {name: p.detach() - 0.1 * p.grad for name, p in policy.named_parameters()}
    policy.zero_grad()
    Alone(module)
    module.optimize(groups)
    assert all(torch.allclose(p, expected[name], atol=1e-5) for name, p in policy.named_parameters())


def test_micro_batches_take_the_same_step(tmp_path):
    after = []
    for budget in (1, 1_000_000):
        policy = Policy(*build())
        module = make_module(policy, tmp_path, microbatch_tokens=budget)
        groups = scored(module)
        Alone(module)
        module.optimize(groups)
        after.append(weights(policy))
    assert all(torch.allclose(after[0][name], after[1][name], atol=1e-5) for name in after[0])


def test_old_logprobs_can_be_computed_again(policy, tmp_path):
    module = make_module(policy, tmp_path, old_logprobs="update")
    groups = scored(module)
    for group in groups:
        for trajectory in group.trajectories:
            trajectory.logprobs = [
                logprob - 1.0 * sampled
                for logprob, sampled in zip(trajectory.logprobs, trajectory.sampled, strict=True)
            ]
    Alone(module)
    report = module.optimize(groups)
    assert report["ratio/mean"] == pytest.approx(1.0, abs=1e-4)  # not exp(1), as against those recorded
    assert report["ratio/logprob_gap"] == pytest.approx(1.0, abs=1e-3)


def test_the_update_tells_the_entropies_that_the_decoder_does_not(policy, tmp_path):
    module = make_module(policy, tmp_path, lr=0.0, old_logprobs="update")
    groups = scored(module)
    expected = [trajectory.entropies for group in groups for trajectory in group.trajectories]
    for group in groups:
        for trajectory in group.trajectories:
            trajectory.entropies = []
    module.objective.prepare(groups)
    found = [trajectory.entropies for group in groups for trajectory in group.trajectories]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_decoder_hears_of_new_weights(policy, tmp_path):
    module = make_module(policy, tmp_path)
    groups, heard = scored(module), []
    Alone(module)
    module.rollout.decoder.refresh = lambda: heard.append(weights(policy))
    before = weights(policy)
    module.optimize(groups)
    assert len(heard) == 1 and any(not torch.equal(before[name], heard[0][name]) for name in before)


def test_tokens_are_weighted_by_how_the_update_sees_them(policy, tmp_path):
    """The rollout is said to have given every token e times less, then e times more, than the update gives it."""
    plain = step_with_shifted_logprobs(policy, tmp_path, 0.0)
    below = step_with_shifted_logprobs(policy, tmp_path, -1.0)
    above = step_with_shifted_logprobs(policy, tmp_path, 1.0)
    assert [below[key] for key in ("importance/mean", "importance/truncated_share")] == pytest.approx([2.0, 1.0])
    assert (
        above["importance/mean"] == pytest.approx(math.exp(-1), abs=1e-4) and above["importance/truncated_share"] == 0
    )
    for report, weight in ((below, 2.0), (above, math.exp(-1))):
        assert report["ratio/mean"] == pytest.approx(1.0, abs=1e-4)
        assert report["grad_norm"] == pytest.approx(weight * plain["grad_norm"], rel=1e-3)


def step_with_shifted_logprobs(policy, folder, shift):
    module = make_module(policy, folder, lr=0.0, old_logprobs="update", importance_cap=2.0)
    groups = scripted(policy, MIXED[:2], max_new_tokens=60)
    score(module, groups)
    for t in groups[0].trajectories:
        t.logprobs = [logprob + shift * sampled for logprob, sampled in zip(t.logprobs, t.sampled, strict=True)]
    Alone(module)
    return module.optimize(groups)


def test_truncated_importance_needs_the_logprobs_of_the_update(shared_policy, tmp_path):
    with pytest.raises(UserError, match=r"importance_cap=2\.0: needs algorithm\.old_logprobs=update"):
        make_module(shared_policy, tmp_path, importance_cap=2.0)
    with pytest.raises(UserError, match=r"importance_cap=0: must be a number above 0"):
        make_module(shared_policy, tmp_path, importance_cap=0, old_logprobs="update")


def test_without_an_entropy_term_no_entropy_is_computed(policy, tmp_path, monkeypatch):
    module = make_module(policy, tmp_path)
    groups = scripted(policy, MIXED[:2], max_new_tokens=60)
    score(module, groups)
    Alone(module)
    monkeypatch.setattr("loupe.engine.policy.entropy", lambda logp: pytest.fail("computed"))
    assert "update/entropy" not in module.optimize(groups)


def test_an_entropy_term_moves_trajectories_without_advantage(policy, tmp_path):
    """Its first step increases the entropy, which the report gives for all tokens, as the rollout saw them."""
    module = make_module(policy, tmp_path, lr=0.01, loss=GRPO(entropy=1.0))
    groups = scripted(policy, MIXED[:2], max_new_tokens=60)  # without advantages
    Alone(module)
    before, after = module.optimize(groups), module.optimize(groups)
    rolled_out = [nats for trajectory in groups[0].trajectories for nats in trajectory.entropies]
    assert before["update/entropy"] == pytest.approx(fmean(rolled_out), abs=1e-4)
    assert before["grad_norm"] > 0 and after["update/entropy"] > before["update/entropy"]


def test_an_estimator_of_ones_own_sees_all_groups(shared_policy, tmp_path):
    seen = []

    def above_all(rewards):
        seen.append(rewards.shape)
        return rewards - rewards.mean()

    groups = scripted(shared_policy, MIXED[:3], count=2, max_new_tokens=60)
    score(make_module(shared_policy, tmp_path, advantage=above_all), groups)
    rewards = torch.tensor([[t.reward for t in group.trajectories] for group in groups])
    assert seen == [(2, 3), (2, 3)]  # the first is the trial at the start
    got = [t.advantage for group in groups for t in group.trajectories]
    assert got == pytest.approx((rewards - rewards.mean()).flatten().tolist())


class TelLater:
    """Further batches of two, and a reward that differs within a group only if its example is among ``telling``."""

    def __init__(self, telling):
        self.telling, self.asked = telling, []

    def further(self, step, count):
        self.asked.append((step, count))
        more = iter(examples(10)[2:])
        return ([next(more), next(more)] for _ in range(count))

    def term(self, trajectory, group):
        return float(trajectory.sample == 0 and int(group.example.id.rpartition("/")[2]) in self.telling)


@pytest.mark.parametrize(
    ("telling", "max_draws", "kept", "drawn"),
    [
        ([0, 1], 4, [0, 1], 2),  # the batch itself is enough
        ([1, 2, 3], 4, [1, 2], 4),
        ([1, 7], 4, [1, 7], 8),
        ([5], 3, [0, 5], 6),  # the budget is spent; the first of the others fills the gap
        ([], 2, [0, 1], 4),
        ([5], 1, [0, 1], 2),  # no dynamic sampling
    ],
)
def test_groups_are_drawn_until_enough_have_rewards_that_differ(
    shared_policy, tmp_path, telling, max_draws, kept, drawn
):
    data = TelLater(telling)
    rollout = make_rollout(shared_policy, ScriptedRollout, script=[["<answer>7</answer>"]] * 2)
    reward = CompositeReward({"telling": data.term}, {"telling": 1.0})
    module = make_module(shared_policy, tmp_path, rollout=rollout, reward=reward, max_draws=max_draws, group_size=2)
    module._trainer = SimpleNamespace(datamodule=data)
    draws = module.draw(examples(2), step=7, clock=Clock())
    assert [int(group.example.id.rpartition("/")[2]) for group in draws.groups] == kept
    told = len([number for number in telling if number < drawn])
    share = pytest.approx((drawn - told) / drawn)
    assert draws.metrics() == {"drawn/groups": drawn, "drawn/kept": 2, "drawn/zero_variance_share": share}
    assert data.asked == ([(7, max_draws - 1)] if max_draws > 1 else [])


def test_warmup_then_cosine():
    shares = [warmup_cosine(step, warmup=4, total=12) for step in range(13)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[8] == pytest.approx(0.5)
    assert shares[12] == pytest.approx(0.0)
    assert warmup_cosine(0, warmup=0, total=1) == 1.0


def test_inner_epochs_reach_the_clip_and_count_as_one_step(policy, tmp_path):
    module = make_module(policy, tmp_path, inner_epochs=3, lr=3.0)
    groups = scored(module)
    alone = Alone(module)
    report = module.optimize(groups)
    assert report["clip/low_share"] + report["clip/high_share"] > 0
    assert alone.counted == 1


def test_groups_without_signal_leave_the_weights_alone(policy, tmp_path):
    module = make_module(policy, tmp_path, loss=GRPO(beta=0.0))
    groups = scored(module)
    for group in groups:
        for trajectory in group.trajectories:
            trajectory.advantage = 0.0
    before = weights(policy)
    alone = Alone(module)
    module.optimize(groups)
    assert all(torch.equal(before[name], p) for name, p in policy.named_parameters())
    assert alone.counted == 1


def test_zero_advantage_stays_in_the_denominator(policy, tmp_path):
    """Ten trajectories of which one has an advantage: the loss is that one's share of ten, not of one."""
    module = make_module(policy, tmp_path)
    groups = scored(module, count=1)
    for i, trajectory in enumerate(groups[0].trajectories):
        trajectory.advantage = 1.0 if i == 0 else 0.0
    Alone(module)
    assert module.optimize(groups)["loss"] == pytest.approx(-1 / len(MIXED), abs=1e-5)


def test_zero_advantage_stays_in_the_token_denominator(policy, tmp_path):
    """DAPO: the one trajectory that has an advantage weighs its share of all sampled tokens."""
    module = make_module(policy, tmp_path, loss=DAPO())
    group = scored(module, count=1)[0]
    for i, trajectory in enumerate(group.trajectories):
        trajectory.advantage = 1.0 if i == 1 else 0.0
    Alone(module)
    share = group.trajectories[1].n_sampled / sum(t.n_sampled for t in group.trajectories)
    assert module.optimize([group])["loss"] == pytest.approx(-share, abs=1e-5)


def test_with_a_kl_term_trajectories_without_advantage_have_a_gradient_too(policy, tmp_path):
    module = make_module(policy, tmp_path, loss=GRPO(beta=0.1))
    Alone(module)
    groups = scored(module)
    module.optimize(groups)  # away from the reference
    for group in groups:
        for trajectory in group.trajectories:
            trajectory.advantage = 0.0
    report = module.optimize(groups)
    assert report["kl"] > 0 and report["grad_norm"] > 0


def test_low_precision_copies_of_the_weights_do_not_outlive_a_step(policy, tmp_path):
    """Autocast keeps them for the whole training step; the next inner epoch must see the new weights."""
    module = make_module(policy, tmp_path, lr=1.0)
    groups = scored(module, count=1)
    Alone(module)

    def logprobs():
        return [logp for _, logps in update.logprobs(policy, groups, 1.0, 100_000) for logp in logps]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = logprobs()
        module.optimize(groups)
        within = logprobs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        afresh = logprobs()
    assert within == pytest.approx(afresh, abs=1e-3)
    assert before != pytest.approx(afresh, abs=1e-2)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}], ids=["frozen copy", "adapter off"])
def test_the_kl_term_refers_to_the_untrained_policy(tmp_path, lora):
    policy = load_policy(None, build, lora)
    module = make_module(policy, tmp_path, loss=GRPO(beta=0.1), lr=3.0)
    Alone(module)
    groups = scored(module)
    assert module.optimize(groups)["kl"] == pytest.approx(0.0, abs=1e-6)
    start = [t.ref_logprobs for g in groups for t in g.trajectories]
    assert module.optimize(groups)["kl"] > 1e-5  # the policy has moved,
    again = [t.ref_logprobs for g in groups for t in g.trajectories]
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(start, again, strict=True))  # the reference has not
    assert all(name.startswith("policy.") for name in module.state_dict())


def test_the_kl_term_of_a_loaded_adapter_refers_to_what_was_loaded(tmp_path):
    made = load_policy(None, build, {"r": 4, "alpha": 8})
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    save_policy(made, tmp_path / "adapter")
    policy = load_policy(str(tmp_path / "adapter"), build, train_vision=False)
    trained = [name for name, p in policy.named_parameters() if p.requires_grad]
    module = make_module(policy, tmp_path, loss=GRPO(beta=0.1), lr=3.0)
    Alone(module)
    groups = scripted(policy, MIXED, count=2, max_new_tokens=60)
    score(module, groups)
    assert module.optimize(groups)["kl"] == pytest.approx(0.0, abs=1e-6)
    moved = weights(policy)
    assert module.optimize(groups)["kl"] > 1e-5
    assert any(not torch.equal(moved[name], p) for name, p in policy.named_parameters())  # put back, and trained on
    assert [name for name, p in policy.named_parameters() if p.requires_grad] == trained
    assert not any("visual" in name for name in trained)
    with adapter_off(policy):
        pass
    assert [name for name, p in policy.named_parameters() if p.requires_grad] == trained


def test_a_non_finite_gradient_stops_and_saves_the_batch(policy, tmp_path):
    module = make_module(policy, tmp_path)
    groups = scored(module)
    groups[0].trajectories[0].advantage = float("nan")
    before = weights(policy)
    Alone(module)
    module._trainer = None
    with pytest.raises(NonFiniteError, match=r"the batch is in .*nonfinite_batch\.pt"):
        module.optimize(groups)
    saved = torch.load(tmp_path / "nonfinite_batch.pt", weights_only=False)
    assert saved["groups"][0].trajectories[0].ids == groups[0].trajectories[0].ids
    assert all(torch.equal(before[name], p) for name, p in policy.named_parameters())


def test_a_checkpoint_holds_only_what_is_trained(tmp_path):
    module = make_module(load_policy(None, build, {"r": 4, "alpha": 8}), tmp_path)
    kept = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(kept)
    assert kept["state_dict"] and all("lora_" in name for name in kept["state_dict"])


def test_unreadable_rows_are_skipped_counted_and_named(policy, tmp_path, caplog):
    good, bad = examples(2)
    bad = dataclasses.replace(bad, image=tmp_path / "missing.jpg")
    module = make_module(policy, tmp_path)
    data = LoupeDataModule([good, bad] * 2, None, None, batch_size=2, eval_batch_size=2, seed=0)
    trainer = lightning.Trainer(
        default_root_dir=tmp_path,
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert len(module.skipped) == 1
    assert caplog.text.count("missing.jpg") == 1
    module.on_save_checkpoint(saved := {"state_dict": {}})
    resumed = make_module(policy, tmp_path)
    resumed.on_load_checkpoint(saved)
    assert resumed.skipped.lines == module.skipped.lines
    del saved["skipped"]  # as in a checkpoint of an earlier version
    resumed.on_load_checkpoint(saved)


def test_a_data_set_of_which_nothing_can_be_read_ends_the_run(policy, tmp_path):
    bad = dataclasses.replace(examples(1)[0], image=tmp_path / "missing.jpg")
    module = make_module(policy, tmp_path)
    for _ in range(EMPTY_BATCHES - 1):
        module.validation_step([bad])
    with pytest.raises(UserError, match=r"10 batches in a row without a readable row; .*missing\.jpg"):
        module.validation_step([bad])


@pytest.mark.parametrize("option", ["group_size", "inner_epochs", "microbatch_tokens", "max_draws"])
def test_bad_settings(policy, tmp_path, option):
    with pytest.raises(UserError, match=f"algorithm.{option}=0"):
        make_module(policy, tmp_path, **{option: 0})


def test_some_trajectories_of_a_balanced_group_are_free(shared_policy, tmp_path):
    without = make_rollout(shared_policy, balance=2, max_calls=0)  # as for judging without the tool
    with pytest.raises(UserError, match=r"rollout\.balance=2: there is no call to begin with; choose a tool, or 0"):
        make_module(shared_policy, tmp_path, rollout=without, group_size=5)
    rollout = make_rollout(shared_policy, balance=2)
    with pytest.raises(UserError, match=r"rollout\.balance=2: twice that must be less than algorithm\.group_size=4"):
        make_module(shared_policy, tmp_path, rollout=rollout, group_size=4)
    module = make_module(shared_policy, tmp_path, rollout=rollout, group_size=5)
    module.rollout.sample = lambda groups, step: None
    module.assign_rewards = lambda groups, step: None
    (group,) = module.draw(examples(1), step=0, clock=Clock()).groups
    assert [t.forced for t in group.trajectories] == ["tool", "tool", "answer", "answer", None]
    assert forced_share([group]) == 0.8
    rollout.dialogue.prefill = "<answer"
    with pytest.raises(
        UserError, match=r"rollout\.balance=2: needs a thought that the policy ends; end prompt\.prefill"
    ):
        make_module(shared_policy, tmp_path, rollout=rollout, group_size=5)


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo", "dapo", "gspo", "rloo"])
def test_every_algorithm_is_configured(algorithm, tmp_path):
    cfg = compose_config(f"algorithm={algorithm}", f"paths.output_dir={tmp_path}")
    module = build_module(cfg)
    loss = {"rloo": "drgrpo"}.get(algorithm, algorithm.replace("_", ""))
    assert type(module.objective.loss).__name__.lower() == loss
    estimators = {"dr_grpo": advantages.group_mean, "rloo": advantages.leave_one_out}
    assert module.estimator.func is estimators.get(algorithm, advantages.group_std)
    assert module.max_draws == (10 if algorithm == "dapo" else 1)
    assert json.loads(json.dumps(dataclasses.asdict(module.objective.loss)))["beta"] == 0.0
