import pytest
from conftest import bare_group

from loupe.errors import UserError
from loupe.geometry import Frame
from loupe.records import Example, Trajectory
from loupe.rewards import terms
from loupe.rewards.boxes import BoxError, IouAbove, Length, box_iou, format_box, iou, read_box

FRAME = Frame.of("shown", (100, 50), (200, 150))


@pytest.mark.parametrize(
    "answer",
    [
        "[10, 5, 30.5, 20]",
        "[10,5,30.5,20]",
        "The box is [10, 5, 30.5, 20], I think; not [0, 0, 1, 1].",
        '{"bbox_2d": [10, 5, 30.5, 20], "label": "sign"}',
        '```json\n[{"bbox_2d": [10, 5, 30.5, 20]}]\n```',
        "[1, 2] [left, 1, 2, 3] [10, 5, 30.5, 20]",  # the first that is complete
        "[\n10,\n5,\n3.05e1,\n20\n]",
    ],
)
def test_boxes_that_are_read(answer):
    assert read_box(answer, FRAME) == (20, 15, 61, 60)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, BoxError.NO_ANSWER),
        ("", BoxError.NO_ANSWER),
        ("left", BoxError.MALFORMED),
        ("[1, 2, 3]", BoxError.MALFORMED),
        ("[1, 2, 3, 4, 5]", BoxError.MALFORMED),
        ("[1, 2, 3, 4", BoxError.MALFORMED),
        ("[1, 2, 3, nan]", BoxError.NOT_FINITE),
        ("[1, 2, inf, 4] [1, 2, 3, 4]", BoxError.NOT_FINITE),
        ("[1, 2, 1e999, 4]", BoxError.NOT_FINITE),
        (f"[1, 2, {'1' * 100_000}x, 4]", BoxError.MALFORMED),  # in time linear in its length
        ("[3, 2, 1, 4]", BoxError.REVERSED),
        ("[1, 4, 3, 4]", BoxError.REVERSED),
        ("[-1, 2, 3, 4]", BoxError.OUT_OF_FRAME),
        ("[1, 2, 3, 50.5]", BoxError.OUT_OF_FRAME),
        ("[1, 2, 101, 4]", BoxError.OUT_OF_FRAME),
    ],
)
def test_answers_that_are_not_boxes(answer, kind):
    assert read_box(answer, FRAME) is kind
    said = Trajectory(0, turns=[f"<answer>{answer or ''}</answer>"])
    assert iou(said, bare_group(Example("q", b"", "?", (), answer_box=(0, 0, 9, 9)), said, frame=FRAME)) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('<think>left</think>\n<answer>{"bbox_2d": [1, 2, 3, 4]}</answer>', 1),
        ('So: <think></think><answer>```json\n[{"a": 1, "b": [1,2, 3,4]}]\n```</answer> done', 1),
        ("<think>left</think><answer>[1, 2, 3, 4]</answer>", 0),
        ('<think>left</think><answer>{"bbox_2d": [1.5, 2, 3, 4]}</answer>', 0),
        ('<think>left</think> so <answer>{"bbox_2d": [1, 2, 3, 4]}</answer>', 0),
        ('<answer>{"bbox_2d": [1, 2, 3, 4]}</answer>', 0),
        ('<think>left</think><answer>{"bbox_2d": [1, 2, 3, 4]}', 0),
        ("<think>left</think><answer>{} [1, 2, 3, 4] {</answer>", 0),
        ("<think>" + "</think><answer>{[1, 2, 3, 4]}" * 20_000, 0),  # in time linear in its length
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_form_that_vlm_r1_rewards(text, value):
    said = Trajectory(0, turns=[text])
    assert format_box(said, bare_group(Example("q", b"", "?", ()), said)) == value


@pytest.mark.parametrize(
    ("coordinates", "box"),
    [("shown", (0, 0, 200, 150)), ("original", (0, 0, 100, 50)), ("relative_1000", (0, 0, 20, 7.5))],
)
def test_the_frame(coordinates, box):
    assert read_box("[0, 0, 100, 50]", Frame.of(coordinates, (100, 50), (200, 150))) == pytest.approx(box)


def test_intersection_over_union():
    assert box_iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert box_iou((0, 0, 4, 4), (2, 0, 6, 4)) == 8 / 24
    assert box_iou((0, 0, 4, 4), (4, 0, 6, 4)) == 0
    assert box_iou((0, 0, 4, 4), (9, 9, 10, 10)) == 0


def answered(box, tokens=0):
    made = Trajectory(0, turns=[f"<answer>{box}</answer>"])
    for _ in range(tokens):
        made.append_sampled(1, -0.1, 0.1)
    return made


ASKED = bare_group(
    Example("q", b"", "Where?", (), answer_box=(0.0, 0.0, 4.0, 4.0)), frame=Frame.of("shown", (10, 10), (10, 10))
)


@pytest.mark.parametrize(("box", "value"), [([0, 0, 4, 4], 1), ([0, 0, 4, 2], 0.5), ([0, 0, 4, 1], 0.25)])
def test_terms_of_a_box(box, value):
    said = answered(box)
    assert iou(said, ASKED) == terms.soft(said, ASKED) == value
    assert terms.accuracy(said, ASKED) == terms.accuracy_leave_one_out(said, ASKED) == (value >= 0.5)


def test_stages_tighten_the_threshold():
    term = IouAbove([[0, 0.25], [10, 0.5], [20, 0.9]])
    boxes = [0, 0, 4, 1], [0, 0, 4, 2]
    reached = {step: [term.at(step)(answered(box), ASKED) for box in boxes] for step in (9, 10, 20)}
    assert reached == {9: [1, 1], 10: [0, 1], 20: [0, 0]}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "must start at step 0 and increase"),
        ([[5, 0.5]], "must start at step 0"),
        ([[0, 0.5], [20, 0.6], [10, 0.7]], "increase"),
        ([[0, 0]], "threshold=0: must be a number above 0"),
        ([[0, 1.5]], "threshold=1.5: must be at most 1"),
        ([[-1, 0.5]], "step=-1"),
        ([0.5], r"0.5 is not \[step, threshold\]"),
    ],
)
def test_bad_stages(stages, message):
    with pytest.raises(UserError, match=message):
        IouAbove(stages)


def test_length():
    assert [Length(8)(answered([0, 0, 1, 1], n), ASKED) for n in (0, 2, 8, 20)] == [0, 0.25, 1, 1]
    with pytest.raises(UserError, match=r"length\.tokens=0"):
        Length(0)


def test_iou_needs_questions_about_boxes():
    needed = "q: the answer is not a box, which the reward term iou needs; choose another reward or, if these data are "
    with pytest.raises(UserError, match=f"^{needed}boxes, data\\.metric=iou, which skips rows without one$"):
        iou(answered([0, 0, 1, 1]), bare_group(Example("q", b"", "?", ("7",))))


def test_huge_finite_boxes_have_an_iou_of_zero():
    """Their areas are infinite; inf / inf would be no number."""
    for box in ([1e308, 0, 1.1e308, 5], [0, 0, 1e200, 1e200], [-1e308, 0, 1e308, 1]):
        assert read_box(str(box), FRAME, within=False) is BoxError.NOT_FINITE or box[1] == 0
        assert terms.accuracy(answered(box), ASKED) == iou(answered(box), ASKED) == 0
