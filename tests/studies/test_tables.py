import csv

import pandas
import pytest

from loupe.errors import UserError
from loupe.studies.tables import by_part, judged_runs, over_seeds, record, results, told


def test_bases_come_before_the_runs(tmp_path):
    for name in ("base/evaluation.json", "seed_2/judged/evaluation.json", "seed_1/judged/evaluation.json", "x/y.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert [run.name for run in judged_runs(tmp_path)] == ["base", "seed_1", "seed_2"]


def test_rows_with_different_figures_go_into_one_table(tmp_path, capsys):
    record([{"run": "base", "score": 1 / 3}, {"run": "a", "gain": None, "seed": 5}], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"run": "base", "score": "0.3333", "gain": "", "seed": ""},
            {"run": "a", "score": "", "gain": "", "seed": "5"},
        ]
    assert "0.333}" in capsys.readouterr().out


RUN = {"job": "a", "seed": 1, "crop": 400, "command": "python"}


def interval(key, mean):
    return {key: mean, f"{key}_low": mean - 0.1, f"{key}_high": mean + 0.1, f"{key}_n": 8}


def test_trainings_and_evaluations_become_the_same_tidy_table():
    training = {**RUN, "seconds": 9.0, **interval("after/score", 0.5), **interval("after/score_few", 0.25)}
    training |= {"after/zoom_rate": 0.75, "after/zoom_rate_few": 1.0, **interval("before/score", 0.125)}
    evaluation = dict(RUN)
    for part, score, rate in (("all", 0.5, 0.75), ("few", 0.25, 1.0)):
        evaluation |= interval(f"parts/{part}/score/greedy", score) | interval(f"parts/{part}/score/no_tool", 0.0)
        evaluation[f"parts/{part}/zoom_rate/greedy"] = rate
    rows = [
        {**RUN, "part": "all", "score": 0.5, "low": 0.4, "high": 0.6, "zoom_rate": 0.75},
        {**RUN, "part": "few", "score": 0.25, "low": 0.15, "high": 0.35, "zoom_rate": 1.0},
    ]
    for table, asked in ((evaluation, "greedy"), (training, "after")):
        assert by_part(pandas.DataFrame([table]), asked).to_dict("records") == rows
    with pytest.raises(UserError, match="no sampled/score and no score/sampled"):
        by_part(pandas.DataFrame([evaluation]), "sampled")


def test_a_table_of_another_kind():
    with pytest.raises(UserError, match=r"no column after/score_low: .* run the sweep once more"):
        by_part(pandas.DataFrame([RUN | {"after/score": 0.5}]), "after")
    with pytest.raises(UserError, match="no column command"):
        by_part(pandas.DataFrame([{"seed": 1, **interval("after/score", 0.5)}]), "after")


def test_runs_that_were_not_asked_are_left_out():
    rows = [
        RUN | {"seed": seed, f"parts/all/zoom_rate/{asked}": 0.0} | interval(f"parts/all/score/{asked}", 0.5)
        for seed, asked in ((1, "greedy"), (2, "no_tool"))
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
    assert told(pandas.Series(first)) == "0.30 [0.15, 0.45]"


def test_an_unknown_study():
    with pytest.raises(UserError, match=r"no recorded table nothing/results; there are .*advantages/results"):
        results("nothing")
