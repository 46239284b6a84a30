import collections
import dataclasses

import numpy as np
import pytest
import torch
from conftest import ANSWER, MIXED, NO_TOOL, THINK, call, examples, make_rollout, scripted
from helpers.compare import assert_close

from loupe.engine import reference
from loupe.engine.layout import Prefixes
from loupe.engine.packed import draw
from loupe.errors import NonFiniteError, UserError
from loupe.records import StopReason, TrajectoryType

EXPECTED = [
    ("no_tool", "answered", [], "472"),
    ("tool_success", "answered", ["ok"], "472"),
    ("tool_success", "answered", ["ok"], "1"),
    ("tool_fail", "answered", ["out_of_bounds"], "472"),
    ("tool_fail", "no_answer", ["bad_keypoint"], None),
    ("tool_fail", "answered", ["unclosed"], "472"),
    ("tool_success", "out_of_turns", ["ok", "over_budget"], None),
    ("tool_success", "answered", ["ok"], "472"),
    ("tool_fail", "out_of_tokens", ["unclosed"], None),
]


def test_every_kind_of_trajectory_ends_as_it_should(shared_policy):
    trajectories = scripted(shared_policy, MIXED, max_new_tokens=60)[0].trajectories
    got = [(t.type, t.stop, [e.status for e in t.events], t.answer) for t in trajectories]
    assert got == EXPECTED


def assert_sampled_logprobs(policy, group, temperature):
    for number, trajectory in enumerate(group.trajectories):
        with torch.no_grad():
            expected = reference.logprobs(policy, group.prompt, trajectory, temperature)
        name = f"log-probabilities of {group.example.id}, number {number} ({trajectory.type})"
        assert_close(trajectory.sampled_logprobs, expected, atol=1e-4, name=name)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_equal_the_plain_forward(shared_policy, temperature):
    for group in scripted(shared_policy, MIXED, count=3, max_new_tokens=60, temperature=temperature):
        assert_sampled_logprobs(shared_policy, group, temperature)


def test_sampled_logprobs_and_entropies_equal_the_plain_forward(shared_policy):
    """Free sampling, several questions of different lengths in one batch."""
    groups, _ = make_rollout(shared_policy, max_new_tokens=12)(examples(3), 4, step=0)
    for group in groups:
        assert_sampled_logprobs(shared_policy, group, temperature=1.0)
        for trajectory in group.trajectories:
            assert len(trajectory.entropies) == trajectory.n_sampled
            assert all(0 <= value <= np.log(500) for value in trajectory.entropies)


def test_the_result_does_not_depend_on_the_batch(shared_policy):
    def tokens(groups):
        return {g.example.id: [t.ids for t in g.trajectories] for g in groups}

    rollout = make_rollout(shared_policy, max_new_tokens=10, seed=3)
    together, _ = rollout(examples(4), 3, step=7)
    alone = [rollout([example], 3, step=7)[0][0] for example in reversed(examples(4))]
    rollout.prompts_per_batch = 2
    in_parts, _ = rollout(examples(4), 3, step=7)
    assert tokens(together) == tokens(alone) == tokens(in_parts)


@pytest.mark.parametrize("other", [{"seed": 1, "step": 0}, {"seed": 0, "step": 1}])
def test_seed_and_step_change_the_samples(shared_policy, other):
    def ids(seed, step):
        groups, _ = make_rollout(shared_policy, max_new_tokens=8, seed=seed)(examples(1), 2, step)
        return [t.ids for t in groups[0].trajectories]

    first = ids(seed=0, step=0)
    assert first == ids(seed=0, step=0)
    assert first[0] != first[1]
    assert first != ids(**other)


def test_greedy_takes_the_likeliest_token(shared_policy):
    groups, _ = make_rollout(shared_policy, max_new_tokens=6)(examples(2), 2, step=0, greedy=True)
    for group in groups:
        for trajectory in group.trajectories:
            with torch.no_grad():
                likeliest = reference.distribution(shared_policy, group.prompt, trajectory, 1.0).argmax(-1)
            assert likeliest.tolist() == trajectory.ids  # nothing but sampled tokens in so short a turn


def test_placeholders_are_never_sampled(policy):
    """Their logits are pushed to the top; still none is drawn, greedily or not."""
    biased = torch.zeros(policy.backbone.config.text_config.vocab_size)
    biased[sorted(policy.banned)] = 50.0
    policy.backbone.lm_head.register_forward_hook(lambda module, args, out: out + biased)
    for greedy in (True, False):
        groups, _ = make_rollout(policy, max_new_tokens=10)(examples(2), 4, step=0, greedy=greedy)
        drawn = {i for g in groups for t in g.trajectories for i, s in zip(t.ids, t.sampled, strict=True) if s}
        assert drawn and not drawn & policy.banned


def test_which_tokens_are_banned(shared_policy):
    banned = shared_policy.tokenizer.convert_ids_to_tokens(sorted(shared_policy.banned))
    assert set(banned) == {
        *("<|endoftext|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    }


def test_stop_text_split_over_tokens_and_merged_with_a_line_break(shared_policy):
    split = shared_policy.tokenizer("</tool>")["input_ids"]
    merged = shared_policy.tokenizer("</tool>\n")["input_ids"]
    assert len(split) > 1 and split[-1] != merged[-1]
    head = shared_policy.tokenizer(call("[20, 40]").removesuffix("</tool>"))["input_ids"]
    characters = [i for c in "</tool>" for i in shared_policy.tokenizer(c)["input_ids"]]
    script = [[head + ending, ANSWER] for ending in (split, merged, characters)]
    for trajectory, turn in zip(
        scripted(shared_policy, script, max_new_tokens=60)[0].trajectories, script, strict=True
    ):
        assert trajectory.type == TrajectoryType.TOOL_SUCCESS
        assert trajectory.ids[: len(turn[0])] == turn[0]  # the ids as they were sampled


def test_failed_call_spends_the_budget(shared_policy):
    script = [[call("[300, 300]"), call("[20, 20]")]]
    trajectory = scripted(shared_policy, script, max_new_tokens=60)[0].trajectories[0]
    assert trajectory.stop == StopReason.OUT_OF_TURNS
    assert trajectory.type == TrajectoryType.TOOL_FAIL
    assert [event.status for event in trajectory.events] == ["out_of_bounds", "over_budget"]


def test_without_a_tool_any_attempt_fails_and_ends(shared_policy):
    script = [[ANSWER], [call("[20, 20]")]]
    plain_answer, attempt = scripted(shared_policy, script, tools=NO_TOOL, max_new_tokens=60)[0].trajectories
    assert plain_answer.stop == StopReason.ANSWERED
    assert (attempt.type, attempt.stop) == (TrajectoryType.TOOL_FAIL, StopReason.OUT_OF_TURNS)


def test_an_observation_over_its_budget_is_a_failed_call_without_a_picture(shared_policy):
    script = [[call("[20, 20]"), ANSWER]]
    trajectory = scripted(shared_policy, script, max_new_tokens=60, max_observation_tokens=25)[0].trajectories[0]
    assert [event.status for event in trajectory.events] == ["observation_too_long"]
    assert trajectory.images == []
    assert shared_policy.image_token not in trajectory.ids


def test_a_reason_over_the_budget_is_cut_to_one_word(shared_policy):
    script = [["<think>hm</think><tool>name: zoom<|im_end|>", ANSWER]]
    trajectory = scripted(shared_policy, script, max_new_tokens=60, max_observation_tokens=16)[0].trajectories[0]
    text = shared_policy.tokenizer.decode(trajectory.ids)
    assert "zoom<|im_end|>\n<|im_start|>user\nError.<|im_end|>\n<|im_start|>assistant\n<think>" in text


def test_an_observation_budget_too_small_for_any_is_refused(shared_policy):
    with pytest.raises(UserError, match=r"rollout\.max_observation_tokens=5: must be \d+ or more"):
        make_rollout(shared_policy, max_observation_tokens=5)


def test_budgets_are_separate(shared_policy):
    """A turn may use its whole token budget after a long observation."""
    length = len(shared_policy.tokenizer(call("[20, 40]"))["input_ids"])
    script = [[call("[20, 40]"), THINK + "oh " * 80]]
    trajectory = scripted(shared_policy, script, max_new_tokens=length)[0].trajectories[0]
    assert trajectory.stop == StopReason.OUT_OF_TOKENS
    assert trajectory.n_sampled == 2 * length


def test_the_crop_holds_original_pixels(shared_policy):
    """The event's box, cut from the original and shown at the overview's long side, is what the model was shown."""
    group = scripted(shared_policy, [[call("[20, 40]"), ANSWER]], max_new_tokens=60)[0]
    trajectory = group.trajectories[0]
    box = trajectory.events[0].box
    assert (box[2] - box[0], box[3] - box[1]) == (400, 400)
    crop = group.prompt.picture.crop(box).resize((112, 112), 3)
    assert_close(trajectory.images[0].pixels, shared_policy.patches(crop).pixels, name="pixels of the crop")


def test_a_row_that_cannot_be_read_is_skipped_and_named(shared_policy):
    good, other = examples(2)
    missing = dataclasses.replace(other, id="row-7", image="/nowhere/picture.jpg")
    groups, skipped = make_rollout(shared_policy, max_new_tokens=4)([missing, good], 2, step=0)
    assert [group.example.id for group in groups] == [good.id]
    assert len(skipped) == 1 and "/nowhere/picture.jpg" in str(skipped[0])


def test_finished_rows_are_not_decoded_further(shared_policy, monkeypatch):
    """Of two rows one answers early: later steps feed the other's token alone."""
    fed = collections.Counter()
    share = Prefixes.share

    def counting(self, prompts, counts, own=None):
        # One branch is left in the buffers until the turn is over.
        fed.update({number: count for number, count in enumerate(counts, start=1)})
        return share(self, prompts, counts, own)

    monkeypatch.setattr(Prefixes, "share", counting)
    short, long = "<answer>1</answer>", THINK + "oh " * 30
    trajectories = scripted(shared_policy, [[short], [long]], max_new_tokens=40)[0].trajectories
    assert fed[1] == len(trajectories[0].ids) - 1
    assert fed[2] == len(trajectories[1].ids) - 1


def test_a_policy_that_has_diverged_stops_the_run(policy):
    with torch.no_grad():
        policy.backbone.lm_head.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"weights have diverged; .* lower algorithm\.optimizer\.lr"):
        make_rollout(policy, max_new_tokens=4)(examples(1), 2, step=0)


def test_draw_inverts_the_cumulative_distribution():
    logp = torch.tensor([[0.2, 0.0, 0.5, 0.3, 0.0]] * 6).log()
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 1 - 2**-53], dtype=torch.float64)
    assert draw(logp, uniforms).tolist() == [0, 0, 2, 2, 3, 3]


def test_draw_follows_the_distribution():
    logp = torch.tensor([0.1, 0.6, 0.3]).log().expand(20000, 3)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(20000))
    shares = draw(logp, uniforms).bincount(minlength=3) / 20000
    assert shares.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.015)


@pytest.mark.parametrize("option", ["max_new_tokens", "max_observation_tokens", "prompts_per_batch"])
def test_bad_budgets(shared_policy, option):
    with pytest.raises(UserError, match=rf"rollout\.{option}=0: must be a whole number, 1 or more"):
        make_rollout(shared_policy, **{option: 0})


def test_bad_temperature(shared_policy):
    with pytest.raises(UserError, match=r"rollout\.temperature=0"):
        make_rollout(shared_policy, temperature=0)
