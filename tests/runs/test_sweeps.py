import csv
import json
import shlex

import pytest

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


def test_one_row_per_finished_job(tmp_path):
    after = {"score": {"all": SCORE}, "zoom_rate": {"all": 0.5}, "zoom_hit_rate": {"all": None}, "n": {"all": 8}}
    for number in (10, 9):
        given = [f"crop={number}", "+data.x=[1,2]", "++logger.mode=disabled", "+debug=true", "threads=1"]
        job(tmp_path, number, given, dirty=number == 10, summary={"seed": 3, "seconds": 7.0, "after": after})
    job(tmp_path, 11, ["crop=11"])  # still running, or dead
    (tmp_path / "previous-1").mkdir()  # set aside by a single run in this folder
    (tmp_path / "previous-1" / "summary.json").write_text("{}")
    rows = collect(tmp_path)
    assert [row["job"] for row in rows] == ["9", "10"]
    with (tmp_path / "results.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first == {
        **{"job": "9", "setting/crop": "9", "setting/data.x": "[1,2]", "setting/threads": "1", "setting/seed": "3"},
        **{"commit": "abc", "command": "python src/train.py -m crop=9 '+data.x=[1,2]' threads=1", "seconds": "7.0"},
        **{"after/score/all": "0.5", "after/score/all/low": "0.25", "after/score/all/high": "0.75"},
        **{"after/score/all/n": "8", "after/zoom_rate/all": "0.5", "after/zoom_hit_rate/all": "", "after/n/all": "8"},
    }
    assert second["commit"] == "abc-dirty"
    lines = table(rows).splitlines()
    assert lines[0].split() == ["job", "crop", "after/score/all", "after/zoom_rate/all"]
    assert lines[2].split() == ["10", "10", "0.500", "[0.250,", "0.750]", "0.500"]


def test_a_folder_with_configuration_is_no_setting(tmp_path):
    job(tmp_path, 1, ["--config-dir=/my conf", "reward=brief"], summary={"after": {"score": {"all": SCORE}}})
    (row,) = collect(tmp_path)
    assert [key for key in row if key.startswith("setting/")] == ["setting/reward", "setting/seed"]
    assert row["command"] == "python src/train.py -m '--config-dir=/my conf' reward=brief"


def test_what_a_resume_changed_is_a_setting_of_the_job(tmp_path):
    job(tmp_path, 1, ["crop=300", "seed=3"], summary={"after": {"score": {"all": SCORE}}})
    command = "python src/train.py crop=300 seed=3 trainer.max_steps=9 crop=200"
    first = {"command": command, "changed": {"crop": 200, "trainer.max_steps": 9}}
    second = {"command": f"{command} seed=4", "changed": first["changed"] | {"seed": 4}}
    (tmp_path / "1" / "parts.jsonl").write_text("".join(json.dumps(part) + "\n" for part in (first, second)))
    (row,) = collect(tmp_path)
    settings = {key: value for key, value in row.items() if key.startswith("setting/")}
    assert settings == {"setting/crop": "200", "setting/seed": 4, "setting/trainer.max_steps": "9"}
    assert row["command"] == "python src/train.py -m crop=200 seed=4 trainer.max_steps=9"


@pytest.mark.parametrize("name", ["summary.json", "provenance.json", "config.yaml"])
def test_a_job_with_a_damaged_file_is_left_out_and_named(tmp_path, caplog, name):
    for number in (1, 2):
        job(tmp_path, number, [f"a={number}"], summary={"after": {"score": {"all": SCORE}}})
    (tmp_path / "2" / name).write_text("")
    assert [row["job"] for row in collect(tmp_path)] == ["1"]
    assert f"{tmp_path}/2/{name} cannot be read" in caplog.text


def test_settings_that_only_some_jobs_have_stand_before_the_metrics(tmp_path):
    job(tmp_path, 1, ["a=1"], summary={"after": {"score": {"all": SCORE}}})
    job(tmp_path, 2, ["b=2"], summary={"after": {"score": {"all": SCORE}}})
    rows = collect(tmp_path)
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.startswith("job,setting/a,setting/seed,setting/b,commit,command,after/score/all")
    assert [line.split()[:3] for line in table(rows).splitlines()] == [
        ["job", "a", "b"],
        ["1", "1", "-"],
        ["2", "-", "2"],
    ]


def test_counts_stay_whole_numbers_where_a_job_lacks_them(tmp_path):
    for number, figures in ((1, {"score": {"all": SCORE}}), (2, {"iou": {"all": SCORE}})):
        job(tmp_path, number, [f"a={number}"], summary={"after": figures})
    collect(tmp_path)
    with (tmp_path / "results.csv").open() as file:
        assert [row["after/score/all/n"] for row in csv.DictReader(file)] == ["8", ""]


def test_evaluations_show_their_intervals(tmp_path):
    greedy = {"score": {"all": SCORE, "few": SCORE}, "zoom_rate": {"all": 0.125}}
    greedy["types"] = {"all": {"no_tool": {"share": 0.75, "score": None}}}
    figures = {"settings": {"crop": 1, "commit": "begun"}, "skipped_rows": 0}
    figures |= {"conditions": {"greedy": greedy, "no_tool": {"score": {"all": SCORE}}}, "tool_gain": {"all": SCORE}}
    for number, data in enumerate(("vstar", "hrbench_4k")):
        job(tmp_path, number, [f"data={data}"], entry="evaluate", evaluation=figures)
    first, _ = rows = collect(tmp_path)
    assert first["commit"] == "begun" and first["command"] == "python src/evaluate.py -m data=hrbench_4k"
    assert first["tool_gain/all"] == first["no_tool/score/all"] == first["greedy/score/few"] == 0.5
    assert first["greedy/types/all/no_tool/share"] == 0.75 and first["tool_gain/all/n"] == 8
    lines = table(rows).splitlines()
    assert lines[0].split() == ["job", "data", "greedy/score/all", "greedy/score/few", "greedy/zoom_rate/all"]
    assert lines[1].split() == ["1", "hrbench_4k", *["0.500", "[0.250,", "0.750]"] * 2, "0.125"]


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_nothing_to_collect(tmp_path, name):
    if name == "empty":
        job(tmp_path, 0, [])
    assert collect(tmp_path) == []
    assert not (tmp_path / "results.csv").exists()
