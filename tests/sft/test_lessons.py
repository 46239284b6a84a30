import pytest
import torch

from loupe.engine import reference
from loupe.geometry import Frame
from loupe.records import Prompt, Trajectory
from loupe.sft.lessons import Lesson, batch_lessons, logprobs


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


def _alone(policy, lesson):
    """The reference path takes a trajectory: here, everything from the lesson's first weighted token on."""
    start = next(i for i, weight in enumerate(lesson.weights) if weight)
    prompt = Prompt(lesson.ids[:start], lesson.images[:1], None, (1, 1), Frame.of("shown", (1, 1), (1, 1)))
    trajectory = Trajectory(0, lesson.ids[start:], [int(w > 0) for w in lesson.weights[start:]])
    trajectory.images = lesson.images[1:]
    return reference.logprobs(policy, prompt, trajectory, 1.0), [w for w in lesson.weights if w]
