import csv

import pandas
import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from loupe.errors import UserError
from loupe.studies.tables import (
    PRESET,
    RECORDED,
    by_part,
    named_by,
    over_seeds,
    results,
    score_text,
    seed_scores,
    with_preset,
    write,
    write_tables,
)


def test_rows_with_different_columns_go_into_one_table(tmp_path):
    write([{"job": "base", "score": 1 / 3}, {"job": "a", "gain": None, "seed": 5}], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first == {"job": "base", "score": "0.3333", "gain": "", "seed": ""}
    assert second["score"] == second["gain"] == "" and float(second["seed"]) == 5


RUN = {"job": "a", "setting/seed": 1, "setting/crop": 400, "command": "python"}


def interval(key, mean):
    return {key: mean, f"{key}/low": mean - 0.1, f"{key}/high": mean + 0.1, f"{key}/n": 8}


def test_trainings_and_evaluations_become_the_same_tidy_table():
    rows = [
        {"job": "a", "seed": 1, "crop": 400, "command": "python", "part": part}
        | {"score": score, "low": score - 0.1, "high": score + 0.1, "zoom_rate": rate}
        for part, score, rate in (("all", 0.5, 0.75), ("few", 0.25, 1.0))
    ]
    for condition, others in (("after", ["before"]), ("greedy", ["no_tool", "greedy/types"])):
        row = dict(RUN)
        for part, score, rate in (("all", 0.5, 0.75), ("few", 0.25, 1.0)):
            row |= interval(f"{condition}/score/{part}", score) | {f"{condition}/zoom_rate/{part}": rate}
            for other in others:
                row |= interval(f"{other}/score/{part}", 0.0) | {f"{condition}/score_leave_one_out/{part}": 1.0}
        assert by_part(pandas.DataFrame([row]), condition).to_dict("records") == rows
        with pytest.raises(UserError, match="no sampled/score in this table"):
            by_part(pandas.DataFrame([row]), "sampled")


def test_a_table_of_another_kind():
    with pytest.raises(UserError, match=r"no column after/score/all/low: .* run the sweep again"):
        by_part(pandas.DataFrame([RUN | {"after/score/all": 0.5}]), "after")
    with pytest.raises(UserError, match="no column command"):
        by_part(pandas.DataFrame([{"setting/seed": 1, **interval("after/score/all", 0.5)}]), "after")


def test_runs_without_the_condition_are_left_out():
    rows = [
        RUN | {"setting/seed": seed, f"{name}/zoom_rate/all": 0.0} | interval(f"{name}/score/all", 0.5)
        for seed, name in ((1, "greedy"), (2, "no_tool"))
    ]
    assert by_part(pandas.DataFrame(rows), "greedy").seed.tolist() == [1]


def test_means_over_seeds():
    rows = [(100, 0, 0.2, 0.1, 0.3, 1.0), (100, 1, 0.4, 0.2, 0.6, 0.0), (400, 0, 0.9, 0.8, 1.0, 0.5)]
    tidy = pandas.DataFrame(rows, columns=["crop", "seed", "score", "low", "high", "zoom_rate"])
    first, second = over_seeds(tidy, ["crop"]).to_dict("records")
    assert first == pytest.approx(
        {"crop": 100, "score": 0.3, "low": 0.15, "high": 0.45, "zoom_rate": 0.5, "runs": 2, "least": 0.2, "most": 0.4}
    )
    assert second["runs"] == 1
    assert score_text(pandas.Series(first)) == "0.30 [0.15, 0.45]"


def test_an_unknown_study():
    with pytest.raises(UserError, match=r"^nothing: no results\.csv in this folder.*; there are .*advantages/results"):
        results("nothing")


def test_every_recorded_table_is_read_with_its_jobs_as_text():
    for path in RECORDED.glob("*/results.csv"):
        table = results(path.parent.name)
        assert "job" not in table or all(isinstance(job, str) for job in table.job), path


def test_scores_over_seeds_are_texts_by_condition_and_part():
    row = {"setting/tool": "zoom", "runs": 5, "score/all/n": 9}
    for part, score in (("all", 0.5), ("small", 0.25)):
        row |= {f"score/{part}": score, f"score/{part}/low": score - 0.1, f"score/{part}/high": score + 0.1}
    shown = seed_scores(pandas.DataFrame([row]), {"tool": "setting/tool"})
    assert shown.to_dict("records") == [
        {"tool": "zoom", "runs": 5, "all": "0.50 [0.40, 0.60]", "small": "0.25 [0.15, 0.35]"}
    ]


def test_the_preset_of_balanced_groups_stands_for_its_settings():
    cfg = compose_config("rollout=balanced")
    assert {key: str(OmegaConf.select(cfg, key)) for key in PRESET} == PRESET
    keys = [f"setting/{key}" for key in PRESET]
    rows = pandas.DataFrame({"setting/rollout": ["balanced", None], keys[0]: [None, "2"]})
    assert with_preset(rows)[keys].astype(object).where(lambda cell: cell.notna(), None).values.tolist() == [
        ["1", "winning"],
        ["2", None],
    ]
    assert with_preset(rows[[keys[0]]]).equals(rows[[keys[0]]])


def test_rows_are_named_by_the_settings_that_make_them():
    rows = [(None, None), ("0.5", None), ("{start: 0.5}", None), ("0.5", 1), (None, 1)]
    table = pandas.DataFrame(rows, columns=["setting/bonus", "setting/balance"], index=[4, 3, 2, 1, 0])
    made_by = {"paid": {"bonus": "."}, "decaying": {"bonus": r"\{"}, "both": {"bonus": ".", "balance": "1"}}
    assert named_by(table, "none", made_by).tolist() == ["none", "paid", "decaying", "both", "none"]
    assert named_by(table[["setting/bonus"]], "none", made_by).tolist() == ["none", "paid", "decaying", "paid", "none"]


def refuse(folder):
    raise UserError(f"{folder}: no finished training")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "error: name the folder of a sweep, such as outputs/main"), (["runs"], "error: runs: no finished training")],
)
def test_a_script_that_cannot_make_its_tables_says_why(monkeypatch, arguments, message):
    monkeypatch.setattr("sys.argv", ["gains.py", *arguments])
    with pytest.raises(SystemExit, match=f"^{message}$"):
        write_tables({"gains": refuse}, "outputs/main")
