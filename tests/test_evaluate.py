"""python src/evaluate.py, as a user runs it."""

import csv
import json
import sys

import published
import pytest
from helpers.commands import SMALL

import evaluate as entry
from loupe.evaluation.conditions import Condition
from loupe.evaluation.journal import read_parquet

FEW = [*SMALL, "model=tiny_random", "logger=none", "evaluate.n=4", "evaluate.samples=2", "evaluate.resamples=20"]

FAST = ["evaluate.samples=0"]


def run(monkeypatch, folder, *overrides):
    monkeypatch.setattr(sys, "argv", ["src/evaluate.py", *FEW, f"paths.output_dir={folder}", *overrides])
    entry.main()


def test_it_leaves_figures_and_every_answer(tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path)
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["conditions"]["greedy"]["score"]["all"]["n"] == 4
    settings = figures["settings"]
    assert (settings["seed"], settings["crop"], settings["resolution"], settings["model"]["path"]) == (
        0,
        400,
        112,
        None,
    )
    assert settings["evaluate"]["samples"] == 2 and settings["tool"]["zoom"]["pixels"] == "original"
    rows = read_parquet(tmp_path / "answers.parquet")
    assert {(c, sum(row["condition"] == c for row in rows)) for c in ("greedy", "sampled", "no_tool", "shuffled")} == {
        ("greedy", 4),
        ("sampled", 8),
        ("no_tool", 4),
        ("shuffled", 4),
    }
    assert (tmp_path / "provenance.json").exists()
    assert "src/evaluate.py" in json.loads((tmp_path / "provenance.json").read_text())["command"]
    before = capsys.readouterr().out
    assert "resolution 112 (at most 12,544 pixels per picture), crop 400" in before


def test_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    run(monkeypatch, tmp_path / "whole", *FAST)
    asked = []

    def stopping(self, indices, batch_size, *rest):
        for outcomes in answer(self, indices, 1, *rest):
            asked.append((self.name, outcomes[0].number))
            yield outcomes
            if len(asked) == 3:
                raise KeyboardInterrupt

    answer = Condition.answer
    monkeypatch.setattr(Condition, "answer", stopping)
    with pytest.raises(SystemExit, match=rf"to resume: python src/evaluate.py .*paths.output_dir={tmp_path}/part"):
        run(monkeypatch, tmp_path / "part", *FAST)
    run(monkeypatch, tmp_path / "part", *FAST)
    assert len(asked) == len(set(asked)) == 4 * 3
    names = ("answers.parquet", "evaluation.json")
    assert [(tmp_path / "part" / name).read_bytes() for name in names] == [
        (tmp_path / "whole" / name).read_bytes() for name in names
    ]
    provenance = (tmp_path / "part" / "provenance.json").read_text()
    run(monkeypatch, tmp_path / "part", *FAST, "evaluate.conditions=[greedy,direct]")  # one more way to ask
    assert (tmp_path / "part" / "provenance.json").read_text() == provenance  # that of the answers which are kept
    assert asked[12:] == [("direct", number) for number in range(4)]
    with pytest.raises(SystemExit, match=r"given under other settings \(.*resolution"):
        run(monkeypatch, tmp_path / "part", *FAST, "resolution=84")


def test_without_a_tool_there_is_nothing_to_shuffle(tmp_path, monkeypatch):
    run(monkeypatch, tmp_path, "tool=none", *FAST, "evaluate.split=val")
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(figures["conditions"]) == {"greedy"} and "tool_gain" not in figures


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.split=dev", "evaluate.split=dev: must be one of train, val, test"),
        ("evaluate.n=0", "evaluate.n=0: must be a whole number, 1 or more"),
        ("evaluate.samples=-1", "evaluate.samples=-1"),
        ("evaluate.resamples=0", "evaluate.resamples=0"),
        ("resume=outputs/first", "only training can be resumed; give model.path"),
        ("trainer.accelerator=steam", "trainer.accelerator=steam"),
        ("trainer.precision=8", "trainer.precision=8: must be one of"),
        ("evaluat.n=3", "did you mean evaluate"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, override, message):
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, tmp_path, override)


def test_a_training_run_keeps_its_records(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(SystemExit, match="holds a run; choose another folder"):
        run(monkeypatch, tmp_path)


def test_in_low_precision(tmp_path, monkeypatch):
    conditions = ["evaluate.conditions=[greedy,no_tool,described,blank,textcot]", "evaluate.describe=''"]
    run(monkeypatch, tmp_path, "model.dtype=bfloat16", "trainer.precision=bf16-mixed", *conditions)
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(figures["conditions"]) == ["greedy", "no_tool", "described", "blank", "textcot"]
    assert figures["description_effect"]["all"]["n"] == figures["call_gain"]["all"]["n"] == 4
    assert list(figures["factors"]["all"]["call_gain"]) == ["mass", "policy", "quality"]


def test_a_multirun_ends_in_one_table(tmp_path, monkeypatch, capsys):
    sweep = ["-m", "crop=300,400", "evaluate.conditions=[greedy]"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *sweep, *FEW, f"paths.output_dir={tmp_path}"])
    entry.main()
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["setting/crop"], row["setting/seed"]) for row in rows] == [("300", "0"), ("400", "0")]
    for row in rows:
        figures = json.loads((tmp_path / row["job"] / "evaluation.json").read_text())
        score = figures["conditions"]["greedy"]["score"]["all"]
        assert float(row["greedy/score/all"]) == score["mean"]
        assert float(row["greedy/score/all/high"]) == score["high"]
    assert "2 jobs" in capsys.readouterr().out


def test_benchmarks_in_one_table(tmp_path, monkeypatch):
    """Published forms of two benchmarks, both found by what they are called; cycles, options and settings stated."""
    published.vstar_jsonl(tmp_path / "files")
    published.hrbench_parquet(tmp_path / "files")
    sweep = ["-m", "data=vstar,hrbench_4k", "resolution=56,84", f"++data.path={tmp_path / 'files'}"]
    few = ["model=tiny_random", "logger=none", "trainer.enable_progress_bar=false", "rollout.max_new_tokens=3"]
    conditions = "evaluate.conditions=[greedy,direct]"
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *sweep, *few, conditions, f"paths.output_dir={out}"])
    entry.main()
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["setting/data"], row["setting/resolution"]) for row in rows] == [
        (data, side) for data in ("hrbench_4k", "vstar") for side in ("56", "84")
    ]
    hrbench, vstar = (json.loads((out / rows[i]["job"] / "evaluation.json").read_text()) for i in (1, 3))
    assert set(vstar["conditions"]["greedy"]["n"]) == {"all", "direct_attributes", "relative_position"}
    assert (
        vstar["conditions"]["greedy"]["unanswered"]["all"] == 1.0
    )  # random weights name no option: wrong, and counted
    assert vstar["settings"]["most_pixels"]["overview"] == 84 * 84
    assert set(hrbench["conditions"]["direct"]["n"]) == {"all", "FSP", "FCP"}
    assert set(hrbench["conditions"]["direct"]["cycles"]["FSP"]) == {f"cycle_{number}" for number in range(4)}
