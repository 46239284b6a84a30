import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import ANSWER, call, make_rollout, scripted
from lightning.pytorch.loggers import CSVLogger

from loupe.engine.environment import Environment
from loupe.errors import UserError
from loupe.logs.jsonl import JsonlLogger
from loupe.logs.reporter import COLUMNS, Reporter, in_turns
from loupe.logs.wandb_logger import RunWandbLogger
from loupe.metrics.rows import answer_rows
from loupe.metrics.training import Histogram

ROWS = partial(answer_rows, factor=28, merge=2)


class Tables(RunWandbLogger):
    """Collects what would go to W&B."""

    def __init__(self):
        self.tables, self.lines = [], []

    def log_metrics(self, metrics, step):
        self.lines.append((step, metrics))

    def log_rows(self, key, columns, rows, step):
        self.tables.append((key, columns, list(rows), step))


@pytest.fixture
def groups(shared_policy):
    """Two questions; only on the second do rewards differ."""
    groups = scripted(shared_policy, [[ANSWER], [call("[20, 40]"), ANSWER]], count=2, max_new_tokens=60)
    groups[1].trajectories[1].reward = 1.0
    return groups


def test_a_table_has_the_pictures_and_the_telling_question_first(groups, shared_policy):
    logger, shown = Tables(), Environment(make_rollout(shared_policy).dialogue).shown
    Reporter(trajectories_every=5, groups=1, shown=shown).training([logger], 1, {"loss": 0.5}, groups, ROWS)
    ((key, columns, rows, step),) = logger.tables
    assert (key, columns, step) == ("trajectories", COLUMNS, 1)
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    assert {row["id"] for row in told} == {groups[1].example.id}
    assert [row["type"] for row in told] == ["no_tool", "tool_success"]
    direct, zoomed = told
    assert direct["picture"].size == zoomed["picture"].size == (640, 480)
    red = [np.any(np.all(np.asarray(row["picture"]) == (255, 0, 0), axis=-1)) for row in told]  # a box, a ring
    assert red == [False, True]
    (crop,) = shown(groups[1].trajectories[1], groups[1].prompt)
    assert direct["shown"] is None and zoomed["shown"].tobytes() == crop.tobytes()
    assert zoomed["references"] == " | ".join(dict.fromkeys(groups[1].example.references)) and zoomed["score"] in (0, 1)


def test_the_table_leaves_out_what_came_without_pictures(groups, tmp_path):
    tables = Tables()
    Reporter().trajectories([tables, JsonlLogger(tmp_path)], 3, "train", [groups[0].light(), groups[1]], ROWS)
    ((_, columns, rows, _),) = tables.tables
    assert {row[columns.index("id")] for row in rows} == {groups[1].example.id}
    assert len((tmp_path / "trajectories.jsonl").read_text().splitlines()) == 4


def test_now_and_then(groups):
    logger = Tables()
    for step in range(1, 12):
        Reporter(trajectories_every=5).training([logger], step, {"loss": 0.5}, groups, ROWS)
    assert [table[3] for table in logger.tables] == [1, 6, 11]
    assert [step for step, _ in logger.lines] == list(range(1, 12))


def test_files_hold_the_whole_exchange(groups, tmp_path):
    Reporter().trajectories([JsonlLogger(tmp_path)], 3, "train", groups, ROWS)
    rows = [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert [row["condition"] for row in rows] == ["sampled"] * 4 and [row["split"] for row in rows] == ["train"] * 4
    assert rows[1]["calls"] == ["ok"] and rows[1]["advantage"] == groups[0].trajectories[1].advantage
    assert rows[3]["reward"] == 1.0


def test_validation_keys(groups):
    logger = Tables()
    Reporter().validation([logger], 4, {"score/all": 0.25})
    assert logger.lines == [(4, {"val/score/all": 0.25})]


def test_the_first_questions_of_each_subset_are_followed(groups, tmp_path):
    first, second = groups
    named = [("a", "small", first), ("b", "small", first), ("c", "large", second), ("d", "small", second)]
    asked = [replace(group, example=replace(group.example, id=id, subset=part)) for id, part, group in named]
    asked[0].example = replace(asked[0].example, image=b"")  # on another rank
    assert [group.example.id for group in in_turns(asked)] == ["c", "b", "d", "a"]
    for step in (0, 25):
        Reporter(followed=2).follow([JsonlLogger(tmp_path)], step, asked, ROWS)
    Reporter(followed=0).follow([JsonlLogger(tmp_path)], 50, asked, ROWS)
    rows = [json.loads(line) for line in (tmp_path / "trajectories.jsonl").read_text().splitlines()]
    told = {(row["step"], row["split"], row["condition"], row["id"]) for row in rows}
    assert told == {(step, "val", "greedy", id) for step in (0, 25) for id in "cb"}


def test_other_loggers_get_the_numbers_under_the_same_keys(groups, tmp_path):
    logger = CSVLogger(tmp_path, name="csv", flush_logs_every_n_steps=1)
    report = {"score/all": 0.25, "advantage/all/no_tool/hist": Histogram([1], [0.0, 1.0])}
    Reporter().training([logger], 4, report, groups, ROWS)
    ((header, row),) = [(tmp_path / "csv/version_0/metrics.csv").read_text().splitlines()]
    assert dict(zip(header.split(","), row.split(","), strict=True)) == {"score/all": "0.25", "step": "4"}


@pytest.mark.parametrize(("option", "value"), [("trajectories_every", 0), ("groups", 0), ("followed", 101)])
def test_bad_settings(option, value):
    with pytest.raises(UserError, match=rf"report\.{option}={value}"):
        Reporter(**{option: value})
