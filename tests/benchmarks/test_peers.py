"""benchmarks/peers: the task that both sides get, and what was recorded. TRL itself is not installed here."""

import importlib
import json

import pytest

from loupe.paths import PROJECT

RECORDED = PROJECT / "benchmarks" / "results" / "peers.jsonl"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks" / "peers")
    return importlib.import_module


@pytest.fixture
def records():
    return [json.loads(line) for line in RECORDED.read_text().splitlines()]


@pytest.mark.parametrize("zoom", [False, True])
def test_turns_are_of_one_length_and_no_two_samples_alike(peers, shared_policy, zoom):
    task = peers("task")
    script = task.script(task.Point(zoom=zoom, group=32), shared_policy.tokenizer)
    assert {len(turn) for turns in script for turn in turns} == {task.TURN}
    assert {len(turns) for turns in script} == {1 + zoom}
    assert len({str(turns) for turns in script}) == 32
    assert all(turn[-1] == shared_policy.end_of_turn for turns in script for turn in turns)


def test_the_digest_is_of_the_tokens_and_not_of_their_order(peers):
    digest = peers("task").digest
    one, two = ([1, 2], [3, 4], [1, 0]), ([1, 2], [3, 4], [1, 1])
    assert digest([one, two]) == digest([two, one])
    assert len({digest([one]), digest([two]), digest([([1], [2, 3, 4], [1, 0])])}) == 3


def test_sides_that_compute_different_things_are_refused(peers):
    compare, same = peers("compare"), {"digest": "a", "norm": 1.0}
    compare.require_equal(compare.Point(), same, same | {"norm": 1.005})
    for other in ({"digest": "b"}, {"norm": 1.02}):
        with pytest.raises(SystemExit, match="16 x 8: the two sides do not compute the same"):
            compare.require_equal(compare.Point(), same, same | other)


def test_the_documents_say_what_was_recorded(peers, records):
    compare = peers("compare")
    assert sorted(map(compare.point_of, records), key=compare.GRID.index) == compare.GRID
    assert compare.table(records) in (PROJECT / "docs" / "speed.md").read_text()
    steps = [compare.median(compare.ratios(record, "step")) for record in records]
    sentence = f"{min(steps):.1f} to {max(steps):.1f} times as fast as TRL 1.16"
    assert sentence in " ".join((PROJECT / "README.md").read_text().split())
