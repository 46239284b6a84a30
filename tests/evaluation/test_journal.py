import math

import pytest
from PIL import Image

from loupe.evaluation.journal import COLUMNS, Journal, Outcome, answer_row, read_parquet, write_parquet
from loupe.records import OK, Example, Group, Prompt, StopReason, ToolEvent, Trajectory
from loupe.tools.errors import CallError

TARGET = (0, 0, 40, 40)


class Patches:
    def __init__(self, tokens):
        self.n = tokens

    def tokens(self, merge):
        return self.n


def row(trajectory, **example):
    given = {"id": "q", "image": b"", "question": "?", "references": ("7",) * 10} | example
    group = Group(Example(**given), Prompt([], [Patches(12)], Image.new("RGB", (8, 8)), (8, 8)), [trajectory])
    return answer_row("greedy", trajectory, group, factor=28, merge=2)


def answer(text, **options):
    return Trajectory(0, turns=[f"<answer>{text}</answer>"], stop=StopReason.ANSWERED, **options)


def test_a_row_by_hand():
    events = [ToolEvent(OK, {"keypoint": [1, 2]}, (4.5, 9.5), (0, 0, 40, 40)), ToolEvent(CallError.OVER_BUDGET)]
    said = answer("7", events=events, images=[Patches(16)], terms={"hard": 1.0}, reward=1.1)
    found = row(said, references=("7", "7", "7", *"1234568"), target_boxes=(TARGET,), subset="small")
    assert (found["type"], found["answer"], found["answered"], found["chosen"]) == ("tool_success", "7", True, None)
    assert found["score"] == 1.0
    assert found["score_leave_one_out"] == pytest.approx(0.9)
    assert found["calls"] == ["ok", "over_budget"]
    assert (found["keypoints"], found["crops"], found["hits"]) == ([(4.5, 9.5)], [(0, 0, 40, 40)], [True])
    assert (found["image_tokens"], found["pixels"]) == (28, 28 * 784)
    assert (found["reward"], found["term/hard"]) == (1.1, 1.0)


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
    calls = [ToolEvent(OK, None, (1.0, 1.0), (0, 0, 8, 8))]
    assert row(answer("7", events=calls))["hits"] is None
    assert row(answer("7", events=calls), target_boxes=(TARGET,), zoom_image=b"other")["hits"] is None
    assert row(answer("7", events=calls), target_boxes=(TARGET,))["hits"] == [True]


def test_parquet_keeps_every_column_also_empty_ones(tmp_path):
    rows = [row(Trajectory(0, turns=["hm"], stop=StopReason.NO_ANSWER, terms={"hard": 0.0, "iou": 0.5}))]
    write_parquet(rows, tmp_path / "answers.parquet")
    (back,) = read_parquet(tmp_path / "answers.parquet")
    assert set(back) == {*COLUMNS, "term/hard", "term/iou"}
    assert back == rows[0]


def test_a_journal_goes_on_where_it_was_stopped(tmp_path):
    journal = Journal(tmp_path)
    journal.read()
    assert journal.missing("greedy", 3) == [0, 1, 2]
    one, two = Outcome("greedy", 2, [{"id": "c"}]), Outcome("greedy", 0, [], "a: no picture")
    journal.add([one, two])
    assert journal.skipped == ["a: no picture"] and journal.missing("greedy", 3) == [1]
    other = Outcome("direct", 1, [{"id": "b"}])
    journal.add([other])
    with journal.path.open("a") as file:
        file.write('{"condition": "greedy", "number": 1, "ro')  # the machine went down
    again = Journal(tmp_path)
    again.read()
    assert again.outcomes == [one, other]  # what could not be read may be there now
    assert (again.missing("greedy", 3), again.missing("direct", 3)) == ([0, 1], [0, 2])
    again.add([Outcome("greedy", 1, [{"id": "b", "score": 0.5}])])
    assert again.skipped == []
    last = Journal(tmp_path)
    last.read()
    assert [r["id"] for r in last.rows(["direct", "greedy"])] == ["b", "b", "c"]
    assert last.rows(["greedy"])[0] == {"id": "b", "score": 0.5}


def test_a_figure_that_is_not_finite_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        Journal(tmp_path).add([Outcome("greedy", 0, [{"score": math.nan}])])
