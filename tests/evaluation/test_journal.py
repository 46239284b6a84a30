import math

import pytest
from conftest import bare_group

from loupe.evaluation.journal import COLUMNS, Journal, Outcome, read_parquet, write_parquet
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


def test_a_journal_resumes_where_it_was_stopped(tmp_path):
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


def test_a_score_that_is_not_finite_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        Journal(tmp_path).add([Outcome("greedy", 0, [{"score": math.nan}])])
