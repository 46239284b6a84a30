import csv

from loupe.studies import judged_runs, record


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
