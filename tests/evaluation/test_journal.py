import math
from dataclasses import replace

import pytest
from conftest import bare_group

from loupe.errors import UserError
from loupe.evaluation.journal import COLUMNS, Journal, Outcome, digest, read_parquet, write_parquet
from loupe.logs.pictures import NOTHING
from loupe.metrics.rows import answer_rows
from loupe.records import Example, StopReason, Trajectory


def test_parquet_keeps_every_column_also_empty_ones(tmp_path):
    said = Trajectory(0, turns=["hm"], stop=StopReason.NO_ANSWER, terms={"accuracy": 0.0, "iou": 0.5})
    rows = answer_rows([bare_group(Example("q", b"", "?", ("7",) * 10), said)], "greedy", factor=28, merge=2)
    write_parquet(rows, tmp_path / "answers.parquet")
    (back,) = read_parquet(tmp_path / "answers.parquet")
    assert set(back) == {*COLUMNS, "term/accuracy", "term/iou"}
    assert back == dict.fromkeys(NOTHING) | rows[0]


def test_parquet_is_replaced_as_a_whole(tmp_path, monkeypatch):
    def full(table, path):
        path.write_bytes(b"half")
        raise OSError("full")

    write_parquet([], tmp_path / "answers.parquet")
    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(OSError, match="full"):
        write_parquet([], tmp_path / "answers.parquet")
    assert read_parquet(tmp_path / "answers.parquet") == []


A, B, C = (Example(name, b"", f"What is {name}?", (name,)) for name in "abc")


def outcome(condition, number, example, **changes):
    row = {"id": example.id, "question": example.question, "references": list(example.references), "options": []}
    return Outcome(condition, number, [row], **{"digest": digest(example)} | changes)


def reread(folder, *examples):
    journal = Journal(folder)
    journal.read(examples)
    return journal


def test_a_journal_resumes_where_it_was_stopped(tmp_path):
    journal = reread(tmp_path, A, B, C)
    assert journal.missing("greedy", 3) == [0, 1, 2]
    one, two = outcome("greedy", 2, C), Outcome("greedy", 0, [], "a: no picture", digest(A))
    journal.add([one, two])
    assert journal.skipped == ["a: no picture"] and journal.missing("greedy", 3) == [1]
    other = outcome("direct", 1, B)
    journal.add([other])
    with journal.path.open("a") as file:
        file.write('{"condition": "greedy", "number": 1, "ro')  # the machine went down
    again = reread(tmp_path, A, B, C)
    assert again.outcomes == [one, other]  # what could not be read may be there now
    assert (again.missing("greedy", 3), again.missing("direct", 3)) == ([0, 1], [0, 2])
    again.add([Outcome("greedy", 1, [{"id": "b", "score": 0.5}], digest=digest(B))])
    assert again.skipped == []
    last = reread(tmp_path, A, B, C)
    assert [r["id"] for r in last.rows(["direct", "greedy"])] == ["b", "b", "c"]
    assert last.rows(["greedy"])[0] == {"id": "b", "score": 0.5}


def test_answers_follow_their_question_to_another_index(tmp_path, caplog):
    Journal(tmp_path).add([outcome("greedy", 0, A), outcome("greedy", 1, C), outcome("direct", 1, C)])
    for _ in range(2):  # the second time from what the first has written
        journal = reread(tmp_path, A, B, C)
        assert journal.outcomes == [outcome("greedy", 0, A), outcome("greedy", 2, C), outcome("direct", 2, C)]
        assert (journal.missing("greedy", 3), journal.missing("direct", 3)) == ([1], [0, 1])
    assert not caplog.text
    assert reread(tmp_path, C, A).outcomes == [
        outcome("greedy", 1, A),
        outcome("greedy", 0, C),
        outcome("direct", 0, C),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "d"},
        {"question": "Who?"},
        {"references": ("7",)},
        {"options": ("1", "2")},
        {"answer_box": (0, 0, 1, 2)},
    ],
)
def test_answers_to_a_question_that_has_changed_are_dropped(tmp_path, caplog, changed):
    Journal(tmp_path).add([outcome("greedy", 0, A), outcome("greedy", 1, B), outcome("greedy", 2, B)])
    other = replace(A, **changed)
    assert reread(tmp_path, other, B).outcomes == [outcome("greedy", 1, B)]
    told = "2 of its 3 lines answer none of the present questions, or one again: the data have changed since"
    assert told in caplog.text
    assert reread(tmp_path, B).outcomes == [outcome("greedy", 0, B)]
    with pytest.raises(
        UserError, match=r"answers\.jsonl: 1 of its 1 lines answer none of the present questions.*; choose"
    ):
        reread(tmp_path, other, C)
    assert reread(tmp_path, B).outcomes == [outcome("greedy", 0, B)]  # refused, but still there


def test_a_journal_of_an_earlier_version_tells_its_questions_by_their_rows(tmp_path):
    Journal(tmp_path).add([outcome("greedy", 0, A, digest=None), outcome("greedy", 1, C, digest=None)])
    assert reread(tmp_path, A, B, C).missing("greedy", 3) == [1]


def test_unchanged_data_are_read_no_further_than_answered(tmp_path):
    class Examples(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    asked = []
    Journal(tmp_path).add([outcome(condition, 1, B) for condition in ("greedy", "direct")])
    Journal(tmp_path).read(Examples([A, B, C]))
    assert asked == [1]


def test_a_score_that_is_not_finite_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        Journal(tmp_path).add([Outcome("greedy", 0, [{"score": math.nan}])])
