import pytest
from conftest import bare_group

from loupe.metrics.rows import answer_row, is_hit
from loupe.records import OK, Example, StopReason, ToolEvent, Trajectory
from loupe.tools.errors import CallError

TARGET = (0, 0, 40, 40)


class Patches:
    def __init__(self, tokens):
        self.n = tokens

    def tokens(self, merge):
        return self.n


def row(trajectory, **example):
    given = {"id": "q", "image": b"", "question": "?", "references": ("7",) * 10} | example
    group = bare_group(Example(**given), trajectory, images=[Patches(12)])
    return answer_row(trajectory, group, "greedy", factor=28, merge=2)


def answer(text, **options):
    return Trajectory(0, turns=[f"<answer>{text}</answer>"], stop=StopReason.ANSWERED, **options)


def test_a_row_by_hand():
    events = [
        ToolEvent(OK, "zoom", {"keypoint": [1, 2]}, keypoint=(4.5, 9.5), box=(0, 0, 40, 40)),
        ToolEvent(CallError.OVER_BUDGET),
    ]
    said = answer("7", events=events, images=[Patches(16)], terms={"accuracy": 1.0}, reward=1.1)
    found = row(said, references=("7", "7", "7", *"1234568"), target_boxes=(TARGET,), subset="small")
    assert (found["type"], found["answer"], found["answered"], found["chosen"]) == ("tool_success", "7", True, None)
    assert found["score"] == 1.0
    assert found["score_leave_one_out"] == pytest.approx(0.9)
    assert found["calls"] == ["ok", "over_budget"]
    assert (found["keypoints"], found["crops"], found["hits"]) == ([(4.5, 9.5)], [(0, 0, 40, 40)], [True])
    assert (found["image_tokens"], found["pixels"]) == (28, 28 * 784)
    assert (found["reward"], found["term/accuracy"]) == (1.1, 1.0)


@pytest.mark.parametrize(
    ("text", "chosen", "answered", "score"),
    [("(B) rubber", "B", True, 1.0), ("a", "A", True, 0.0), ("glass", None, False, 0.0), ("", None, False, 0.0)],
)
def test_multiple_choice(text, chosen, answered, score):
    found = row(answer(text), references=("B",), options=("steel", "rubber"), cycle="1", cluster="c")
    assert (found["chosen"], found["answered"], found["score"]) == (chosen, answered, score)
    assert found["score_leave_one_out"] is None
    assert (found["cycle"], found["cluster"]) == ("1", "c")


def test_hits_are_unknown_without_targets_and_with_another_pictures_crops():
    calls = [ToolEvent(OK, keypoint=(1.0, 1.0), box=(0, 0, 8, 8))]
    assert row(answer("7", events=calls))["hits"] is None
    assert row(answer("7", events=calls), target_boxes=(TARGET,), zoom_image=b"other")["hits"] is None
    assert row(answer("7", events=calls), target_boxes=(TARGET,))["hits"] == [True]


@pytest.mark.parametrize(
    ("box", "target", "hit"),
    [
        ((0, 0, 400, 400), (10, 10, 30, 20), True),  # target inside
        ((0, 0, 400, 400), (390, 0, 410, 10), True),  # half of the target
        ((0, 0, 400, 400), (391, 0, 411, 10), False),  # 9 of 20 columns
        ((40, 40, 60, 60), (0, 0, 100, 100), True),  # crop inside the target
        ((0, 0, 10, 10), (20, 20, 30, 30), False),  # apart in both directions
        ((0, 0, 10, 10), (5, 5, 5, 9), False),  # empty target
    ],
)
def test_hit(box, target, hit):
    assert is_hit(box, target) is hit
