"""Answers of earlier jobs: which are taken, and the questions that they belong to."""

import json
from dataclasses import replace

import pytest

from loupe.data.datamodule import LoupeDataModule, subset
from loupe.data.signs import Signs
from loupe.errors import UserError
from loupe.evaluation.journal import write_parquet
from loupe.sft.recorded import Choice, answer_files, choose, locate, read_answers


@pytest.fixture
def data():
    splits = (Signs(split, 0, 3) for split in ("train", "validation", "test"))
    return LoupeDataModule(*splits, batch_size=1, eval_batch_size=1, seed=0)


def row(data, split="train", index=0, **changes):
    example = getattr(data, split)[index]
    answer = {"id": example.id, "question": example.question, "condition": "sampled", "sample": 0, "stop": "answered"}
    return answer | {"turns": ["<answer>1</answer>"], "calls": [], "score": 1.0} | changes


CHOICE = Choice(0.5, None, ["train"], ["greedy", "sampled"])


def test_good_answers_to_training_questions_are_taken(data, caplog):
    rows = [
        *(row(data), row(data, score=0.3), row(data, score=0.5, sample=4, turns=["a", "b"], calls=["ok"])),
        *(row(data, "val"), row(data, "test"), row(data, "test", 1), row(data, id="signs/train/9/0")),
        *(row(data, condition="shuffled"), row(data, stop="out_of_tokens"), row(data, question="Where?")),
        row(data, forced="tool") | {"split": "train"},
        *(row(data, turns=[]), row(data, score=None), {"id": "signs/train/0/1"}),
    ]
    first, second = choose(rows, data, CHOICE)
    assert (first.turns, first.calls, first.observed) == (("<answer>1</answer>",), (), None)
    assert (second.turns, second.calls, second.name) == (("a", "b"), ("ok",), "signs/train/0/0 (sample 4)")
    assert first.example() == data.train[0] and first.question == second.question
    assert [record.getMessage() for record in caplog.records] == [
        "answers left out: 1 below min_score=0.5",
        "answers left out: 1 given under other conditions (conditions=[greedy,sampled])",
        "answers left out: 1 cut short",
        "answers left out: 1 begun with a tag that was not the policy's own (rollout.balance)",
        "answers left out: 3 in another form than that of docs/files.md",
        "answers left out: 1 to questions of the val split (splits=[train])",
        "answers left out: 2 to questions of the test split (splits=[train])",
        "answers left out: 1 to questions that data does not have",
        "answers left out: 1 to other questions of the same id; repeat the data settings of that job",
    ]


def test_questions_of_other_splits_are_taken_on_demand(data):
    rows = [row(data, split) for split in ("train", "val", "test")]
    found = choose(rows, data, replace(CHOICE, splits=["val", "test"]))
    assert [trace.question for trace in found] == ["signs/validation/0/0", "signs/test/0/0"]


def test_the_best_answers_to_a_question_are_taken_first(data):
    rows = [row(data, index=i, score=score, sample=s) for i in (0, 1) for s, score in enumerate((0.6, 1.0, 1.0, 0.7))]
    found = choose(rows, data, replace(CHOICE, per_question=2))
    assert [trace.name for trace in found] == [f"signs/train/0/{i} (sample {s})" for i in (0, 1) for s in (1, 2)]


def test_nothing_left_is_an_error(data):
    with pytest.raises(UserError, match="none of the answers is left"):
        choose([row(data, score=0.1)], data, CHOICE)


def test_questions_are_found_in_any_data_set(data):
    """Also where the ids have to be read from the examples."""
    data.train, data.val = subset(data.train, [2, 0]), None
    wanted = {"signs/train/0/0", "signs/test/0/1", "signs/validation/0/0"}
    assert locate(data, wanted) == {"signs/train/0/0": ("train", 1), "signs/test/0/1": ("test", 1)}


def test_every_kind_of_job_is_read(tmp_path, data):
    """A training run, an evaluation, a mining in shards, and a table alone; and each file by itself."""
    answer = row(data)
    files = {
        "run/trajectories.jsonl": [answer],
        "evaluation/answers.jsonl": [{"number": 0, "rows": [answer]}, {"number": 1, "rows": [], "skipped": "bad"}],
        "mined/0-of-2/answers.jsonl": [{"rows": [answer]}],
        "mined/1-of-2/answers.jsonl": [{"rows": [answer]}],
    }
    for name, rows in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in rows))
    (tmp_path / "table").mkdir()
    write_parquet([answer], tmp_path / "table" / "answers.parquet")
    for folder, count in (("run", 1), ("evaluation", 1), ("mined", 2), ("table", 1)):
        found = answer_files(tmp_path / folder)
        assert len(found) == count
        for file in found:
            assert answer_files(file) == [file]
            assert len(choose(read_answers(file), data, CHOICE)) == 1
    (tmp_path / "other.jsonl").touch()
    assert answer_files(tmp_path / "other.jsonl") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_score": 2}, "min_score=2: must be a number from 0 to 1"),
        ({"per_question": 0}, "per_question=0: must be a whole number, 1 or more"),
        ({"splits": ["dev"]}, "splits=dev: must be one of train, val, test"),
        ({"splits": "train"}, "splits=train: must be a list of names"),
        ({"conditions": []}, "conditions=.*: must be a list of names"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(UserError, match=message):
        replace(CHOICE, **changes)
