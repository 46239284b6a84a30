import csv
import json
import shlex

import pytest

from loupe.metrics.intervals import flat
from loupe.runs.sweeps import collect, table

SCORE = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}


def job(folder, number, overrides, entry="train", dirty=False, **files):
    made = folder / str(number)
    (made / ".hydra").mkdir(parents=True)
    (made / "config.yaml").write_text("seed: 3\n")
    command = shlex.join(["python", f"src/{entry}.py", *overrides, f"paths.output_dir={made}"])
    (made / "provenance.json").write_text(json.dumps({"command": command, "commit": "abc", "uncommitted": dirty}))
    for name, content in files.items():
        (made / f"{name}.json").write_text(json.dumps(content))


def test_a_row_for_each_finished_job(tmp_path):
    after = {"score": SCORE, "zoom_rate": 0.5, "n": 8}
    for number in (10, 9):
        given = [f"crop={number}", "+data.x=[1,2]", "++logger.mode=disabled", "+debug=true", "threads=1"]
        job(tmp_path, number, given, dirty=number == 10, summary={"seed": 3, "seconds": 7.0, "after": after})
    job(tmp_path, 11, ["crop=11"])  # still running, or dead
    (tmp_path / "previous-1").mkdir()  # set aside by a single run into this folder
    (tmp_path / "previous-1" / "summary.json").write_text("{}")
    rows = collect(tmp_path)
    assert [row["job"] for row in rows] == ["9", "10"]
    with (tmp_path / "results.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first == {
        **{"job": "9", "crop": "9", "data.x": "[1,2]", "threads": "1", "seed": "3", "commit": "abc", "seconds": "7.0"},
        "command": "python src/train.py -m crop=9 '+data.x=[1,2]' threads=1",
        **{f"after/{key}": str(value) for key, value in flat({"score": SCORE}).items()},
        **{"after/zoom_rate": "0.5", "after/n": "8"},
    }
    assert second["commit"] == "abc-dirty"
    lines = table(rows).splitlines()
    assert lines[0].split() == ["job", "crop", "after/score", "after/zoom_rate"]
    assert lines[2].split() == ["10", "10", "0.500", "[0.250,", "0.750]", "0.500"]


def test_settings_that_only_some_jobs_have_stand_before_the_figures(tmp_path):
    job(tmp_path, 1, ["a=1"], summary={"after": {"score": SCORE}})
    job(tmp_path, 2, ["b=2"], summary={"after": {"score": SCORE}})
    collect(tmp_path)
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.startswith("job,a,seed,b,commit,command,after/score")


def test_evaluations_show_their_intervals(tmp_path):
    figures = {"settings": {"crop": 1, "commit": "begun"}, "skipped_rows": 0, "parts": {"all": {"score/greedy": SCORE}}}
    for number, data in enumerate(("vstar", "hrbench_4k")):
        job(tmp_path, number, [f"data={data}"], entry="evaluate", evaluation=figures)
    first, _ = rows = collect(tmp_path)
    assert first["commit"] == "begun" and first["command"] == "python src/evaluate.py -m data=hrbench_4k"
    assert table(rows).splitlines()[1].split() == ["1", "hrbench_4k", "0.500", "[0.250,", "0.750]"]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_nothing_to_collect(tmp_path, name):
    if name == "empty":
        job(tmp_path, 0, [])
    assert collect(tmp_path) == []
    assert not (tmp_path / "results.csv").exists()
