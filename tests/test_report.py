"""python src/report.py, as a user runs it, and the pages that jobs leave by themselves."""

import json
import sys
from pathlib import Path

import pytest
from conftest import compose_config
from helpers.recorded import data_of, make_run
from hydra import initialize_config_dir
from omegaconf import OmegaConf

import report as entry
from loupe.pages.callback import Page
from loupe.pages.contents import own_choices
from loupe.paths import CONF
from loupe.runs.config import resolved


@pytest.fixture
def report(monkeypatch):
    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, overrides)])
        entry.main()

    return run


def job_of_sweep(folder: Path, crop: int) -> None:
    make_run(folder)
    (folder / ".hydra").mkdir()
    command = f"python src/train.py crop={crop} paths.output_dir={folder}"
    (folder / "provenance.json").write_text(json.dumps({"command": command, "commit": "c0ffee"}))
    (folder / "config.yaml").write_text(f"seed: 0\ncrop: {crop}\npaths: {{output_dir: x}}\n")
    parts = {"score": {"all": {"mean": crop / 1000, "low": 0.1, "high": 0.9, "n": 4}}}
    (folder / "summary.json").write_text(json.dumps({"seed": 0, "seconds": 3.0, "before": parts, "after": parts}))


def test_a_sweep_and_the_pages_that_its_jobs_lack(report, tmp_path):
    for crop in (200, 300):
        job_of_sweep(tmp_path / f"job{crop}", crop)
    report(f"folder={tmp_path}")
    text = (tmp_path / "report.html").read_text()
    assert '<a href="job200/report.html">job200</a>' in text and "<td>0.300 [0.100, 0.900]</td>" in text
    job = (tmp_path / "job200" / "report.html").read_text()
    assert "trained for 3 s" in job and "<td>0.200 [0.100, 0.900]</td>" in job and "crop=200" in job


def test_the_runs_of_a_setting_share_a_chart(report, tmp_path):
    for number, crop in enumerate((200, 300, 300)):
        job_of_sweep(tmp_path / f"job{number}", crop)
    report(tmp_path)
    multiples = data_of(tmp_path / "report.html")["multiples"]
    assert [(setting["title"], setting["runs"]) for setting in multiples] == [("crop=200", 1), ("crop=300", 2)]
    (panel,) = multiples[1]["charts"]
    assert [curve["name"] for curve in panel["curves"]] == ["all", "small"] * 2


def test_a_comparison_of_runs(report, tmp_path, capsys):
    for crop in (200, 300):
        job_of_sweep(tmp_path / f"run {crop}", crop)
    report(tmp_path / "run 200", tmp_path / "run 300", "page.most=5")
    page = tmp_path / "comparison.html"
    text = page.read_text()
    assert capsys.readouterr().out.endswith(f"made {page}\n")
    assert '<a href="run%20200/report.html">' in text and (tmp_path / "run 300" / "report.html").exists()
    assert "<td>200</td><td>300</td>" in text and "<td>0.200 [0.100, 0.900]</td><td>0.300 [0.100, 0.900]</td>" in text
    panels = {panel["title"]: panel["curves"] for panel in data_of(page)["charts"]}
    assert [curve["name"] for curve in panels["Score on validation questions: small"]] == ["run 200", "run 300"]
    for given, line in (("run 200", "given twice"), ("no", "holds no run")):
        with pytest.raises(SystemExit, match=line):
            report(tmp_path / "run 200", tmp_path / given)


def test_mistakes_get_one_line(report, tmp_path):
    for overrides, line in (((), "folder is empty"), ((f"folder={tmp_path}/no",), "holds no run")):
        with pytest.raises(SystemExit, match=line):
            report(*overrides)
    make_run(tmp_path / "run")
    with pytest.raises(SystemExit, match=r"page\.most=0"):
        report(f"folder={tmp_path / 'run'}", "page.most=0")


def test_settings_that_differ_from_the_defaults():
    cfg = OmegaConf.create(
        resolved(compose_config("crop=200", "seed=3", "reward.weights.tool=0.2", "paths.output_dir=out"))
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert own_choices("train", cfg) == {"crop": 200, "reward.weights.tool": 0.2, "seed": 3}


def test_a_page_that_cannot_be_drawn_costs_a_line(tmp_path, monkeypatch, caplog):
    cfg = OmegaConf.create({"hydra": {"job": {"name": "train"}, "runtime": {"output_dir": str(tmp_path / "run")}}})
    Page().on_job_end(cfg, None)  # of a job that failed before it left anything
    assert caplog.text == ""
    make_run(tmp_path / "run")
    Page().on_job_end(cfg, None)
    assert (tmp_path / "run" / "report.html").is_file()
    (tmp_path / "run" / "metrics.jsonl").write_text("{broken\n")
    Page().on_job_end(cfg, None)
    assert "no page: " in caplog.text and "line 1 is damaged" in caplog.text
