from dataclasses import replace

import pytest
import torch
from conftest import examples, make_rollout

from loupe.engine import reference
from loupe.geometry import Frame
from loupe.records import Prompt, Trajectory
from loupe.sft.lessons import Lesson, batch_lessons, logprobs, micro_batches


def test_a_turn_is_tokenized_as_a_whole_and_a_token_across_two_parts_gets_the_larger_weight(shared_policy):
    lesson = Lesson([1, 2], [])
    lesson.append_turn(shared_policy.tokenizer, [("<answer>", 1.0), ("47", 4.0), ("</answer>", 1.0)])
    whole = shared_policy.tokenizer("<answer>47</answer>", add_special_tokens=False)["input_ids"]
    assert lesson.ids == [1, 2, *whole]
    pieces = shared_policy.tokenizer.convert_ids_to_tokens(whole)
    assert lesson.weights == [0, 0] + [4.0 if piece in "47" else 1.0 for piece in pieces]
    lesson = Lesson([1], [])
    lesson.append_turn(shared_policy.tokenizer, [("<answer>", 1.0), ("[", 4.0)])
    assert lesson.weights[-1] == 4.0  # ">[" is one token


def test_lessons_about_a_picture_share_its_tokens(desk, scene, shared_policy):
    lessons = [desk.point(scene.signs[0]), desk.direct(scene.signs[1]), desk.call(scene.signs[2], [3, 4], 1.0)]
    batch = batch_lessons([lessons])
    ((shared, overview),) = batch.prefixes
    assert shared.count(shared_policy.image_token) == 12 and len(overview) == 1
    assert [len(images) for _, _, images in batch.branches] == [0, 0, 1]  # one crop
    for (row, ids, _), lesson in zip(batch.branches, lessons, strict=True):
        assert row == 0 and shared + ids == lesson.ids


def test_lessons_that_share_a_picture_score_like_each_lesson_alone(desk, scene, teacher, shared_policy):
    first, second, third = scene.signs
    picture = scene.render()
    pictures = [
        [desk.call(first, [20, 30], 1.0), desk.where(first), desk.call(second, "here", 1.0), desk.direct(third)],
        [teacher.view(picture, first, first.box, 84)],
    ]
    batch = batch_lessons(pictures)
    with torch.no_grad():
        logp = logprobs(shared_policy, batch)
        for number, lesson in enumerate(lesson for row in pictures for lesson in row):
            alone, weights = _alone(shared_policy, lesson)
            mine = batch.lesson == number
            torch.testing.assert_close(logp[mine], alone, atol=1e-4, rtol=1e-4)
            assert batch.weights[mine].tolist() == pytest.approx(weights)
            assert batch.targets[mine].tolist() == [t for t, w in zip(lesson.ids, lesson.weights, strict=True) if w]


def test_a_question_about_several_pictures(shared_policy):
    """All of them belong to what the lessons share; a trajectory scores like the lesson that is made of it."""
    first, second = examples(2)
    rollout = make_rollout(shared_policy)
    prompt = rollout.dialogue.prompt(replace(first, earlier_images=(second.image,)))
    ids = [shared_policy.tokenizer(text)["input_ids"] for text in ("<answer>12</answer>", "no", "<answer>7</answer>")]
    trajectories = [Trajectory(i, tokens, [1] * len(tokens)) for i, tokens in enumerate(ids)]
    batch = batch_lessons([[Lesson.of(prompt, trajectory) for trajectory in trajectories]])
    assert [len(images) for _, images in batch.prefixes] == [2] and len(batch.prefixes[0][0]) == len(prompt.ids) - 1
    with torch.no_grad():
        expected = [reference.logprobs(shared_policy, prompt, trajectory, 1.0) for trajectory in trajectories]
        torch.testing.assert_close(logprobs(shared_policy, batch), torch.cat(expected), atol=1e-4, rtol=1e-4)


def lesson(shared: int, own: int, number: int) -> Lesson:
    made = Lesson([1] * shared + [100 + number] * own, [])
    made.weights[-own:] = [1.0] * own
    return made


PICTURES = [[lesson(20, 10, n) for n in range(4)], [lesson(12, 5, n) for n in range(2)], [lesson(30, 60, 0)]]


@pytest.mark.parametrize(
    ("budget", "rows", "branches"),
    [(1, [1] * 7, [1] * 7), (50, [1] * 4, [2, 2, 2, 1]), (130, [2, 1], [6, 1]), (300, [3], [7])],
)
def test_micro_batches_stay_within_their_tokens(budget, rows, branches):
    """Seven lessons: all in one batch, or divided, down to each by itself."""
    batches = list(micro_batches(PICTURES, budget))
    assert [len(batch.prefixes) for batch in batches] == rows
    assert [len(batch.branches) for batch in batches] == branches
    assert sum(batch.weights.sum().item() for batch in batches) == 4 * 10 + 2 * 5 + 60
    for batch in batches:
        sizes = [
            len(ids) + sum(len(own) for row, own, _ in batch.branches if row == i)
            for i, (ids, _) in enumerate(batch.prefixes)
        ]
        assert len(sizes) * max(sizes) <= budget or len(batch.branches) == 1


def _alone(policy, lesson):
    """The reference path takes a trajectory: here, everything from the lesson's first weighted token on."""
    start = next(i for i, weight in enumerate(lesson.weights) if weight)
    prompt = Prompt(lesson.ids[:start], lesson.images[:1], None, (1, 1), Frame.of("shown", (1, 1), (1, 1)))
    trajectory = Trajectory(0, lesson.ids[start:], [int(w > 0) for w in lesson.weights[start:]])
    trajectory.images = lesson.images[1:]
    return reference.logprobs(policy, prompt, trajectory, 1.0), [w for w in lesson.weights if w]
