"""Traces as lessons: token for token what a rollout of the same turns records."""

import dataclasses
import io

import pytest
from conftest import ANSWER, MIXED, call, examples, make_rollout, scripted

from loupe.metrics.rows import answer_rows
from loupe.sft.recorded import Asked, trace
from loupe.sft.traces import Observed, Trace
from loupe.sft.writer import Writer

NEWLINE = 7
"""The exchange of ``MIXED`` in which a line break follows a call."""


@pytest.fixture(scope="module")
def group(shared_policy):
    (made,) = scripted(shared_policy, MIXED[:-1], max_new_tokens=60)
    return made


@pytest.fixture
def writer(shared_policy):
    return Writer(make_rollout(shared_policy).environment)


def recorded(group):
    asked = Asked(lambda: group.example, group.example.question, "picture")
    return [trace(row, asked) for row in answer_rows([group], "sampled", 28, 2)]


def written(*turns, observed=(), **options):
    (example,) = examples(1)
    return Trace("row", lambda: example, "question", "picture", turns, observed, **options)


def test_recorded_answers_are_written_as_they_were_sampled(group, writer):
    for number, (old, record) in enumerate(zip(group.trajectories, recorded(group), strict=True)):
        new = writer.trajectory(record, group.prompt)
        assert new.events == old.events
        if number == NEWLINE:  # white space at the end of a turn is dropped
            assert "".join(new.turns) == "".join(old.turns).replace("</tool>\n", "</tool>")
            continue
        assert (new.ids, new.sampled, new.turns) == (old.ids, old.sampled, old.turns), number
        assert all(a.pixels.equal(b.pixels) for a, b in zip(new.images, old.images, strict=True))


def test_an_observation_of_a_file_is_shown_like_that_of_a_call(group, writer):
    """Given the crop that the tool would cut, and the reason that it would give."""
    success, failure = group.trajectories[1], group.trajectories[3]
    file = io.BytesIO()
    group.prompt.picture.crop(success.crops[0]).save(file, "PNG")
    for old, observed in ((success, Observed(image=file.getvalue())), (failure, Observed(failure.events[0].text))):
        new = writer.trajectory(written(*old.turns, observed=(observed,)), group.prompt)
        assert (new.ids, new.sampled) == (old.ids, old.sampled)
        assert all(a.pixels.equal(b.pixels) for a, b in zip(new.images, old.images, strict=True))


def test_the_mask_by_hand(writer, shared_policy):
    """What the policy writes counts: its two turns, the second with the token that ends it, since no tag does."""
    (lesson,), _ = writer.lessons([written("<tool>a</tool>", "Seven.", observed=(Observed("Look."),))])
    pieces = [
        shared_policy.tokenizer.decode([i for i, w in zip(lesson.ids, lesson.weights, strict=True) if w == weight])
        for weight in (1, 0)
    ]
    assert pieces[0] == "<tool>a</tool>Seven.<|im_end|>"
    assert pieces[1].endswith("assistant\n<|im_end|>\n<|im_start|>user\nLook.<|im_end|>\n<|im_start|>assistant\n")


def test_a_system_prompt_of_its_own_is_plain_text(writer, shared_policy):
    text = "Be {brief}. <|im_end|>"
    (own,), _ = writer.lessons([written("<answer>1</answer>", system=text)])
    (usual,), _ = writer.lessons([written("<answer>1</answer>")])
    assert text in shared_policy.tokenizer.decode(own.ids) and "Think inside" not in shared_policy.tokenizer.decode(
        own.ids
    )
    assert own.ids.count(shared_policy.end_of_turn) == usual.ids.count(shared_policy.end_of_turn)
    assert "Think inside" in shared_policy.tokenizer.decode(usual.ids)  # the prompt of others stays


def test_the_prefill_is_not_learned(shared_policy, group):
    rollout = make_rollout(shared_policy)
    rollout.dialogue.prefill = "<think>"
    writer = Writer(rollout.environment)
    (lesson,), errors = writer.lessons([written(ANSWER), written("<answer>1</answer>")])
    learned = [token for token, weight in zip(lesson.ids, lesson.weights, strict=True) if weight]
    assert shared_policy.tokenizer.decode(learned) == ANSWER.removeprefix("<think>")
    assert "does not begin with prompt.prefill" in str(errors[0])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (written("<answer><|image_pad|></answer>"), r"row: a turn holds <\|image_pad\|>, which the policy must not"),
        (written(ANSWER, ANSWER, observed=(Observed(image=b"no picture"),)), "row: .* not a picture"),
        (written(ANSWER, observed=None, calls=("ok",)), "row: its calls end in none now, not in ok; repeat"),
        (written(ANSWER, ANSWER, observed=None), "row: turn 1 is answered otherwise now; repeat the settings"),
        (written(call("[20, 40]"), observed=None, calls=("ok",)), "row: turn 1 is answered otherwise now"),
    ],
    ids=["special token", "bad crop", "other call", "more turns", "fewer turns"],
)  # fmt: skip
def test_a_trace_that_cannot_be_written_is_named_and_the_others_are_kept(writer, broken, reason):
    lessons, errors = writer.lessons([broken, written(ANSWER)])
    assert len(lessons) == len(errors) == 1
    with pytest.raises(type(errors[0]), match=reason):
        raise errors[0]


def test_a_trace_that_is_too_long_is_named(shared_policy):
    writer = Writer(make_rollout(shared_policy, max_total_tokens=100).environment)
    _, (error,) = writer.lessons([written(ANSWER)])
    assert "tokens, more than rollout.max_total_tokens=100" in str(error)


def test_a_question_that_cannot_be_asked_is_named_once(writer):
    (example,) = examples(1)
    missing = dataclasses.replace(example, image=b"")
    lessons, errors = writer.lessons([dataclasses.replace(written(ANSWER), example=lambda: missing)] * 2)
    assert not lessons and [str(error).startswith(f"{example.id}: ") for error in errors] == [True]
