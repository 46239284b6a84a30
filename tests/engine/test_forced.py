"""Trajectories with a forced tag: what is written, what is sampled, and that the others do not notice."""

from functools import partial

import pytest
import torch
from conftest import FRAME, examples, make_rollout, zoom_tools
from helpers.compare import assert_close

from loupe.engine import reference
from loupe.engine.decoder import Branch, Turns
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.models.load import load_policy
from loupe.paths import package_path
from loupe.records import Prompt, StopReason, Trajectory, TrajectoryType


@pytest.fixture(scope="module")
def miniature():
    return load_policy(package_path("models/miniature"), trainable=False)


def sampled(policy, balance, **options):
    """Two groups of six."""
    rollout = make_rollout(policy, balance=balance, seed=4, **options)
    groups, _ = rollout.prompts(examples(2), 6)
    rollout.force(groups)
    rollout.sample(groups, step=0)
    return groups


def test_so_many_begin_with_a_call_and_as_many_with_an_answer(miniature):
    for group, free in zip(sampled(miniature, balance=2), sampled(miniature, balance=0), strict=True):
        assert [t.forced for t in group.trajectories] == ["tool"] * 2 + ["answer"] * 2 + [None] * 2
        calls = [t.type is not TrajectoryType.NO_TOOL for t in group.trajectories]
        assert calls[:4] == [True, True, False, False]
        assert all(t.stop is StopReason.ANSWERED and "</think>\n<" in t.turns[0] for t in group.trajectories)
        for trajectory, other in zip(group.trajectories[4:], free.trajectories[4:], strict=True):
            assert trajectory.ids == other.ids
        for trajectory in group.trajectories:
            expected = reference.logprobs(miniature, group.prompt, trajectory, 1.0)
            assert_close(trajectory.sampled_logprobs, expected.detach(), atol=1e-4)


@pytest.mark.parametrize(("tag", "calls"), [("tool", {"tool_success", "tool_fail"}), ("answer", {"no_tool"})])
def test_all_go_on_with_one_tag(miniature, tag, calls):
    rollout = make_rollout(miniature)
    rollout.dialogue.prefill = "<think"
    groups, _ = rollout(examples(4), 2, step=0, first=tag)
    assert {t.type for group in groups for t in group.trajectories} <= calls
    assert all(t.forced == tag for group in groups for t in group.trajectories)


def test_what_is_forced_is_not_sampled(miniature):
    (group, _), tokenizer = sampled(miniature, balance=1), miniature.tokenizer
    for trajectory, tag in zip(group.trajectories, ("<tool", "<answer"), strict=False):
        seen = len(tokenizer.encode(trajectory.turns[0].partition(tag)[0], add_special_tokens=False))
        assert tokenizer.decode(trajectory.ids[seen]) == tag and not trajectory.sampled[seen]
        assert sum(trajectory.sampled[: seen + 3]) == seen + 2
        assert trajectory.n_sampled == len(trajectory.entropies)


def test_a_tag_that_is_learned_is_sampled_with_its_probability(miniature):
    learned, written = (sampled(miniature, balance=2, learn_forced=learn) for learn in (True, False))
    for group, other in zip(learned, written, strict=True):
        assert [t.forced for t in group.trajectories] == ["tool"] * 2 + ["answer"] * 2 + [None] * 2
        for trajectory, tag in zip(group.trajectories, ["<tool"] * 2 + ["<answer"] * 2, strict=False):
            seen = len(miniature.tokenizer.encode(trajectory.turns[0].partition(tag)[0], add_special_tokens=False))
            assert miniature.tokenizer.decode(trajectory.ids[seen]) == tag and trajectory.sampled[seen]
            assert len(miniature.tokenizer.encode(tag)) == 1 and trajectory.turns[0].count(tag) == 1
        for trajectory in group.trajectories:
            expected = reference.logprobs(miniature, group.prompt, trajectory, 1.0)
            assert_close(trajectory.sampled_logprobs, expected.detach(), atol=1e-4)
            assert trajectory.n_sampled == len(trajectory.entropies)
        assert [t.ids for t in group.trajectories[4:]] == [t.ids for t in other.trajectories[4:]]


def test_a_tag_of_several_tokens_is_learned_whole(miniature):
    rollout = make_rollout(miniature, tools=zoom_tools(call="function"), balance=1, learn_forced=True, seed=4)
    groups, _ = rollout.prompts(examples(1), 3)
    rollout.force(groups)
    rollout.sample(groups, step=0)
    (first, *_) = groups[0].trajectories
    assert "</think>\n<tool_call" in first.turns[0] and all(first.sampled[: len(first.ids) // 2])


def test_a_thought_that_does_not_end_is_left_alone(miniature):
    for group in sampled(miniature, balance=2, max_new_tokens=3):
        assert [t.forced for t in group.trajectories] == [None] * 6
        assert [t.free for t in group.trajectories] == [False] * 4 + [True] * 2
        assert all(t.stop is StopReason.OUT_OF_TOKENS and all(t.sampled) for t in group.trajectories)


@pytest.mark.parametrize("learn", [False, True])
def test_where_no_tag_can_follow_the_thought_the_policy_goes_on_by_itself(miniature, learn):
    ids = partial(miniature.tokenizer.encode, add_special_tokens=False)
    told = [*ids("<think>The sign is small.</think"), *ids(">,"), *ids(" so <answer>5</answer>")]
    assert miniature.tokenizer.decode(told[-10:]).count(">,") == 1 and len(ids(">,")) == 1
    options = {"balance": 1, "learn_forced": learn}
    rollout = ScriptedRollout(miniature, make_rollout(miniature).dialogue, script=[[told]] * 3, **options)
    groups, _ = rollout.prompts(examples(1), 3)
    rollout.force(groups)
    rollout.sample(groups, step=0)
    for trajectory in groups[0].trajectories:
        assert trajectory.turns == ["<think>The sign is small.</think>, so <answer>5</answer>"]
        assert trajectory.stop is StopReason.ANSWERED and trajectory.forced is None


def test_in_fixed_shapes_too(miniature):
    for group, other in zip(sampled(miniature, 2), sampled(miniature, 2, fixed_shapes=True), strict=True):
        for trajectory, same in zip(group.trajectories, other.trajectories, strict=True):
            assert trajectory.ids == same.ids
            assert_close(trajectory.sampled_logprobs, torch.tensor(same.sampled_logprobs), atol=1e-4)


@pytest.mark.parametrize("balance", [-1, 1.5])
def test_other_values_are_refused(miniature, balance):
    with pytest.raises(UserError, match=f"rollout.balance={balance}"):
        make_rollout(miniature, balance=balance)


def test_with_other_settings_of_sampling_the_decoder_is_the_same(miniature):
    rollout = make_rollout(miniature, seed=4)
    other = rollout.changed(seed=5, max_new_tokens=7)
    assert (other.seed, other.max_new_tokens, rollout.seed) == (5, 7, 4) and other.decoder is rollout.decoder


def test_whether_to_learn_is_true_or_false_or_depends(miniature):
    with pytest.raises(UserError, match=r"rollout\.learn_forced=maybe: must be one of true, false, winning"):
        make_rollout(miniature, learn_forced="maybe")
    written = [
        [t.sampled for g in sampled(miniature, 2, learn_forced=x) for t in g.trajectories] for x in (True, "winning")
    ]
    assert written[0] == written[1]


def forced(policy, tail, room=9):
    """What is written after a turn that ends like this, which waits for <answer>, and how the turn ends then."""
    branch = Branch(Trajectory(0, forced="answer"), Prompt([], [], None, (1, 1), FRAME), None, waiting=True, tail=tail)
    ids = Turns(policy, ()).force(branch, room)
    assert branch.trajectory.ids == ids
    return policy.tokenizer.decode(ids), branch.tail, branch.trajectory.forced


def test_a_bracket_that_came_with_the_end_of_the_thought_is_not_written_again(monkeypatch, shared_policy):
    monkeypatch.setattr(Branch, "__post_init__", lambda self: None)
    assert forced(shared_policy, "I see.</think>\n") == ("<answer", "<answer", "answer")
    assert forced(shared_policy, "I see.</think><") == ("answer", "<answer", "answer")
    assert forced(shared_policy, "I see.</think>\n<") == ("answer", "<answer", "answer")
    assert forced(shared_policy, "I see.</think>, ") == ("", "I see.</think>, ", None)
    assert forced(shared_policy, "I see.</think>\n", room=1) == ("", "I see.</think>\n", None)
    assert forced(shared_policy, "I see.") == ("", "I see.", None)


@pytest.mark.parametrize("learn", [False, True])
def test_a_forced_turn_takes_no_more_tokens_than_another(miniature, learn):
    whole = [group.trajectories[0] for group in sampled(miniature, 2, learn_forced=learn)]
    thoughts = [trajectory.turns[0].partition("<tool")[0] for trajectory in whole]
    (thought,) = {len(miniature.tokenizer.encode(text, add_special_tokens=False)) for text in thoughts}
    for room in (1, 2, 4):
        cut = sampled(miniature, 2, learn_forced=learn, max_new_tokens=thought + room)
        for trajectory in (t for group in cut for t in group.trajectories[:2]):
            tag = 0 if room == 1 else 1  # there must be room for the tag and one token more
            assert trajectory.stop is StopReason.OUT_OF_TOKENS and trajectory.forced == ("tool" if tag else None)
            assert len(trajectory.ids) == thought + room
            assert trajectory.sampled.count(0) == (0 if learn else tag)


def test_a_tag_is_learned_only_where_one_is_forced(miniature):
    with pytest.raises(UserError, match=r"rollout\.learn_forced=true: no tag is forced; set rollout\.balance too"):
        make_rollout(miniature, learn_forced=True)
