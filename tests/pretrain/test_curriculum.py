import re
from random import Random

import pytest
import torch

from loupe.data.scenes import SceneStyle, SignScene
from loupe.errors import UserError
from loupe.pretrain.curriculum import BESIDE, DIALOGUES, FIRST, STAGES, Curriculum, view_box


def same(a, b):
    return (
        [ids for _, ids, _ in a.branches] == [ids for _, ids, _ in b.branches]
        and torch.equal(a.weights, b.weights)
        and all(torch.equal(x.pixels, y.pixels) for x, y in zip(pictures(a), pictures(b), strict=True))
    )


def pictures(batch):
    return [image for _, images in batch.prefixes for image in images] + [
        image for _, _, images in batch.branches for image in images
    ]


def text_of(batch, teacher):
    ids = [token for prefix, _ in batch.prefixes for token in prefix] + [
        token for _, branch, _ in batch.branches for token in branch
    ]
    return teacher.policy.tokenizer.decode(ids)


def test_a_step_is_a_function_of_seed_and_step(teacher):
    one, again, other = (Curriculum(teacher, 1000, seed, SceneStyle()) for seed in (0, 0, 1))
    first = one[700]
    assert all(same(a, b) for a, b in zip(first, again[700], strict=True))
    for different in (other[700], one[701]):
        assert not any(same(a, b) for a, b in zip(first, different, strict=True))


def test_stages_follow_each_other(teacher):
    assert [stage.until for stage in STAGES] == sorted(stage.until for stage in STAGES)
    assert STAGES[-1].until == 1
    curriculum = Curriculum(teacher, 1000, 0, SceneStyle())
    first, last = curriculum[0], curriculum[999]
    for batches, stage in ((first, FIRST), (last, DIALOGUES)):
        assert len(batches[0].prefixes) == stage.views
        assert sum(len(batch.prefixes) for batch in batches[1:]) == stage.pictures
    assert "zoom" not in text_of(first[1], teacher)
    assert "</think>\n<tool>" in text_of(last[2], teacher)


def test_views_contain_the_whole_sign():
    for index in range(60):
        sign = SignScene("test", 0, index).asked
        x1, y1, x2, y2 = view_box(Random(index), sign, 1.5, (1600, 1200))
        assert x1 <= sign.box[0] and y1 <= sign.box[1] and x2 >= sign.box[2] and y2 >= sign.box[3]
        assert min(x1, y1) >= 0 and x2 <= 1600 and y2 <= 1200


def test_the_course_about_neighbors_shows_rows(teacher):
    batches = Curriculum(teacher, 10, 0, SceneStyle(), "beside")[3]
    assert sum(len(batch.prefixes) for batch in batches) == BESIDE.pictures
    text = "".join(text_of(batch, teacher) for batch in batches)
    assert "Where is the sign " in text and ". Left of " in text and "zoom" not in text


@pytest.mark.parametrize(("steps", "seed"), [(0, 0), (10, -1)])
def test_bad_settings(teacher, steps, seed):
    with pytest.raises(UserError):
        Curriculum(teacher, steps, seed, SceneStyle())


def test_with_the_tool_half_of_the_questions_get_a_zoom_and_a_seventh_of_the_calls_fail(teacher):
    """Counted over all lessons of the stage, not over the clumsy ones alone."""
    curriculum = Curriculum(teacher, 1000, 0, SceneStyle())
    lessons = []
    for number in range(300):
        scene, rng = curriculum._scene(999, number, DIALOGUES, DIALOGUES.n_signs)
        lessons += curriculum._picture(scene, rng, DIALOGUES)
    texts = [teacher.policy.tokenizer.decode(lesson.ids) for lesson in lessons]
    asked = [text for text in texts if "call the tool" in text and "What number" in text]
    zoomed = [text for text in asked if "</think>\n<tool>" in text]
    assert len(zoomed) / len(asked) == pytest.approx(0.5, abs=0.08)
    assert sum("Error:" in text for text in zoomed) / len(zoomed) == pytest.approx(1 / 7, abs=0.07)


def test_scenes_keep_the_style_of_the_data(teacher):
    style = SceneStyle(colors=["red", "green", "blue", "cyan"], digits=2)
    batch = Curriculum(teacher, 1000, 0, style)[999][1]
    text = text_of(batch, teacher)
    assert not any(color in text for color in ("yellow", "orange", "purple", "pink"))
    assert re.search(r"<answer>\d\d</answer>", text) and not re.search(r"<answer>\d\d\d</answer>", text)
