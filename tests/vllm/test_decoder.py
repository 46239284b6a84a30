"""The vLLM decoder with engines that need no vLLM; tests/vllm/run has the real one."""

from dataclasses import replace

import pytest
from conftest import ANSWER, MIXED, call, examples, make_rollout, scripted
from helpers.compare import assert_close
from helpers.engines import FakeEngine

from loupe.engine.invariants import InvariantError
from loupe.engine.scripted import ScriptedRollout
from loupe.errors import UserError
from loupe.vllm.engine import collapsed
from loupe.vllm.protocol import Written
from loupe.vllm.rollout import VllmRollout, decoder_of


def rollout_with(policy, engine, **options):
    decoder_of.cache_clear()  # a policy keeps its engine
    rollout = make_rollout(policy, VllmRollout, **options)
    rollout.decoder.start = lambda: engine
    rollout.decoder.canary.check = lambda *_: None
    return rollout


def calls_of(policy, script):
    """The token ids of ``MIXED`` by the engine's calls: all first turns, then the second ones."""
    ids = [[policy.tokenizer(turn, add_special_tokens=False)["input_ids"] for turn in turns] for turns in script]
    return [[turns[0] for turns in ids], [turns[1] for turns in ids if len(turns) > 1]]


def test_every_kind_of_trajectory_is_that_of_the_packed_decoder(shared_policy):
    (expected,) = scripted(shared_policy, MIXED, max_new_tokens=60)
    reached = [turns for turns, t in zip(MIXED, expected.trajectories, strict=True) if len(t.turns) > 1]
    first, second = calls_of(shared_policy, MIXED)[0], calls_of(shared_policy, reached)[1]
    rollout = rollout_with(shared_policy, FakeEngine(shared_policy, [first, second]), max_new_tokens=60)
    (group,), _ = rollout(examples(1), len(MIXED), step=0)
    for ours, theirs in zip(group.trajectories, expected.trajectories, strict=True):
        assert (ours.ids, ours.sampled, ours.turns) == (theirs.ids, theirs.sampled, theirs.turns)
        assert (ours.stop, ours.events, len(ours.images)) == (theirs.stop, theirs.events, len(theirs.images))
        assert_close(ours.sampled_logprobs, theirs.sampled_logprobs, atol=1e-5)
        assert ours.entropies == []


@pytest.mark.parametrize("learn", [False, True])
def test_forced_tags_are_those_of_the_packed_decoder(shared_policy, learn):
    """A request ends with the thought, and the next one goes on behind the tag."""
    script = [[call("[20, 40]"), ANSWER], [ANSWER], [ANSWER]]
    (zoom, _), (answer,), _ = ([shared_policy.tokenizer.encode(turn) for turn in turns] for turns in script)
    cuts = [ids.index(shared_policy.tokenizer.encode(tag)[0]) for ids, tag in ((zoom, "<tool"), (answer, "<answer"))]
    parts = [(ids[:cut], ids[cut + 1 :]) for ids, cut in zip((zoom, answer), cuts, strict=True)]
    (thought, rest), (other, end) = parts
    engine = FakeEngine(shared_policy, [[thought, other, answer], [rest, end], [answer]])
    options, found, logprobs = {"max_new_tokens": 60, "balance": 1, "learn_forced": learn}, [], []
    packed = make_rollout(shared_policy, ScriptedRollout, script=script, **options)
    for rollout in (rollout_with(shared_policy, engine, **options), packed):
        groups, _ = rollout.prompts(examples(1), 3)
        rollout.force(groups)
        rollout.sample(groups, step=0)
        found.append([(t.ids, t.sampled, t.turns, t.stop, t.forced) for t in groups[0].trajectories])
        logprobs.append([logprob for t in groups[0].trajectories for logprob in t.sampled_logprobs])
    assert found[0] == found[1]
    assert_close(*logprobs, atol=1e-5)
    # The thought and the tag, of one token, count for the turn as well.
    assert [asked.max_tokens for asked in engine.requests] == [60, 60, 60, 59 - len(thought), 59 - len(other), 60]
    assert [len(asked.stops) for asked in engine.requests] == [3, 3, 2, 2, 2, 2]


def test_seeds_depend_on_the_trajectory_alone(shared_policy):
    seeds = []
    for count in (3, 1):
        engine = FakeEngine(shared_policy)
        rollout_with(shared_policy, engine, max_new_tokens=3)(examples(count), 2, step=5)
        seeds.append([asked.seed for asked in engine.requests])
    assert seeds[1] == seeds[0][:2] and len(set(seeds[0])) == 6


class Altered(FakeEngine):
    """Hands on what it wrote with a change."""

    def __init__(self, policy, change):
        super().__init__(policy, [[[65, 66, 67]]])
        self.change = change

    def write(self, requests, sampling):
        return [self.change(written) for written in super().write(requests, sampling)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: replace(w, read=w.read[1:]), "has read .* other tokens than the .* with 1 pictures"),
        (lambda w: Written(w.read, w.ids[:-1], w.logprobs[:-1]), "has ended a turn early"),
    ],
)
def test_an_engine_that_does_something_else_stops_the_run(shared_policy, change, message):
    rollout = rollout_with(shared_policy, Altered(shared_policy, change), max_new_tokens=3)
    with pytest.raises(InvariantError, match=message):
        rollout(examples(1), 1, step=0)


def test_an_engine_that_does_not_stop_is_noticed(shared_policy):
    def change(written):
        return replace(written, ids=[shared_policy.end_of_turn, 65], logprobs=[-1.0, -1.0])

    rollout = rollout_with(shared_policy, Altered(shared_policy, change), max_new_tokens=3)
    with pytest.raises(InvariantError, match="has gone on behind the end of a turn"):
        rollout(examples(1), 1, step=0)


def test_a_log_probability_that_is_rounded_above_zero(shared_policy):
    engine = Altered(shared_policy, lambda written: replace(written, logprobs=[1e-9] * 3))
    (group,), _ = rollout_with(shared_policy, engine, max_new_tokens=3)(examples(1), 1, step=0)
    assert group.trajectories[0].logprobs == [0.0] * 3


def test_a_dialogue_without_room_is_refused(shared_policy):
    rollout = rollout_with(shared_policy, FakeEngine(shared_policy), max_new_tokens=8, context=40)
    with pytest.raises(UserError, match=r"rollout\.context=40: a dialogue and its next turn may take \d+ tokens"):
        rollout(examples(1), 1, step=0)
    assert rollout.environment.max_total_tokens == 32


def test_each_picture_is_one_placeholder():
    assert collapsed([1, 9, 9, 9, 2, 9, 3, 9, 9], image_token=9) == [1, 9, 2, 9, 3, 9]


def test_new_weights_are_taken_over_before_the_next_tokens(shared_policy):
    engine = FakeEngine(shared_policy)
    rollout = rollout_with(shared_policy, engine, max_new_tokens=2)
    rollout(examples(1), 1, step=0)
    assert engine.events == []  # it started with them
    for _ in range(2):
        rollout.decoder.refresh()
        rollout(examples(1), 1, step=0)
        rollout(examples(1), 1, step=0)
    rollout.decoder.release()
    assert engine.events == ["refresh", "refresh", "release"]


def test_the_rollouts_of_a_policy_share_an_engine(shared_policy):
    first = make_rollout(shared_policy, VllmRollout)
    other = make_rollout(shared_policy, VllmRollout, max_calls=0)
    assert first.decoder is other.decoder is replace(first, temperature=0.5, max_new_tokens=7).decoder
