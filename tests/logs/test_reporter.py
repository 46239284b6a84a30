import json
from functools import partial

import pytest
from conftest import ANSWER, call, scripted

from loupe.errors import UserError
from loupe.logs.jsonl import JsonlLogger
from loupe.logs.reporter import COLUMNS, Reporter
from loupe.logs.wandb_logger import RunWandbLogger
from loupe.metrics.rows import answer_rows

ROWS = partial(answer_rows, factor=28, merge=2)


class Tables(RunWandbLogger):
    """Collects what would go to W&B."""

    def __init__(self):
        self.tables, self.lines = [], []

    def log_metrics(self, metrics, step):
        self.lines.append((step, metrics))

    def log_table(self, key, columns, rows, step):
        self.tables.append((key, columns, rows, step))


@pytest.fixture
def groups(shared_policy):
    """Two questions; only on the second do rewards differ."""
    groups = scripted(shared_policy, [[ANSWER], [call("[20, 40]"), ANSWER]], count=2, max_new_tokens=60)
    groups[1].trajectories[1].reward = 1.0
    return groups


def test_a_table_has_the_crop_drawn_and_the_telling_question_first(groups):
    logger = Tables()
    Reporter(trajectories_every=5, groups=1).training([logger], 1, {"loss": 0.5}, groups, ROWS)
    ((key, columns, rows, step),) = logger.tables
    assert (key, columns, step) == ("trajectories", COLUMNS, 1)
    told = [dict(zip(columns, row, strict=True)) for row in rows]
    assert {row["id"] for row in told} == {groups[1].example.id}
    assert [row["type"] for row in told] == ["no_tool", "tool_success"]
    assert told[0]["picture"] is None and told[1]["picture"].size == (640, 480)


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


@pytest.mark.parametrize("option", ["trajectories_every", "groups"])
def test_bad_settings(option):
    with pytest.raises(UserError, match=rf"report\.{option}=0"):
        Reporter(**{option: 0})
