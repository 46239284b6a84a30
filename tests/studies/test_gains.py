import csv
import json

import pytest
from conftest import load_script

from loupe.errors import UserError
from loupe.studies.gains import answers, gain_rows, gains, seed_rows
from loupe.studies.tables import write_tables

BLANK = {"cluster": None, "cycle": None, "iou": None, "calls": [], "crops": [], "hits": None, "n_sampled": 9}


def rows(split, scores):
    """scores: question -> score. Questions with an s are about small signs."""
    return [
        BLANK | {"id": name, "split": split, "subset": "small" if "s" in name else "large", "score": score}
        for name, score in scores.items()
    ]


def run(folder, overrides, before, after):
    """A finished job of a sweep."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "summary.json").write_text('{"best_val_score": 0.5}')
    provenance = {"command": f"python src/train.py {overrides}", "commit": "abc", "uncommitted": False}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    lines = [*rows("before", before), *rows("after", after), *rows("train", {"s0": 0.5})]
    (folder / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    steps = [{"step": 0, "val/score/all": 0.0}, {"step": 1, "loss": 0.0, "reward/format": 1.0, "score/all": 0.25}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))


@pytest.fixture
def sweep(tmp_path):
    run(tmp_path / "a", "tool=none", {"s1": 0.0, "s2": 0.0, "l1": 1.0}, {"s2": 0.0, "s1": 0.0, "l1": 0.5})
    run(tmp_path / "b", "tool=zoom", {"s1": 1.0, "s2": 0.0, "l1": 0.0}, {"l1": 1.0, "s1": 1.0, "s2": 1.0})
    return tmp_path


def test_gains_are_paired_by_question_over_both_bases(sweep):
    found = {(row["job"], row["over"]): row for row in gain_rows(sweep)}
    without, zoom = found["a", "base, no tool"], found["b", "base, no tool"]
    assert without["gain/score/large"] == -0.5 and without["gain/score/small"] == 0.0
    assert zoom["gain/score/all"] == pytest.approx(2 / 3) and zoom["gain/score/all/n"] == 3
    prompted = found["b", "base, tool prompted"]
    assert (prompted["gain/score/small"], prompted["gain/score/small/low"], prompted["gain/score/small/high"]) == (
        *(0.5, 0.0, 1.0),
    )
    assert prompted["setting/tool"] == "zoom" and prompted["setting/seed"] == 0


def test_without_a_job_that_differs_only_in_the_tool_a_run_is_compared_with_itself(sweep):
    run(sweep / "c", "resolution=84", {"s1": 0.0}, {"s1": 1.0})
    found = {(row["job"], row["over"]): row for row in gain_rows(sweep)}
    assert {over for job, over in found if job == "c"} == {"base, tool prompted"}  # the zoom is the default
    assert found["c", "base, tool prompted"]["gain/score/all"] == 1.0
    assert len(found) == 5


def test_nothing_to_compare(tmp_path):
    with pytest.raises(UserError, match="no finished training"):
        gain_rows(tmp_path)


def test_only_held_out_answers_count(sweep):
    assert [row["id"] for row in answers(sweep / "a", "before")] == ["s1", "s2", "l1"]


def test_the_iou_where_there_are_boxes():
    before, after = (rows(split, {"a": 0.0, "b": 0.0}) for split in ("before", "after"))
    assert set(gains(before, after)) == {"score"}
    for one, other in zip(before, after, strict=True):
        one["iou"], other["iou"] = 0.25, 0.75
    assert gains(before, after)["iou"]["all"]["mean"] == 0.5


def test_runs_that_differ_in_their_seed_are_put_together(tmp_path):
    for seed, small in enumerate((0.0, 1.0, 0.5)):
        run(tmp_path / f"a{seed}", f"crop=200 seed={seed}", {"s1": 0.0, "l1": 0.0}, {"s1": small, "l1": 1.0})
    run(tmp_path / "a3", "threads=2 seed=3 crop=200", {"s1": 0.0, "l1": 0.0}, {"s1": 0.5, "l1": 1.0})
    run(tmp_path / "b", "crop=400 seed=0", {"s1": 0.0, "l1": 0.0}, {"l1": 0.5, "s1": 0.0})
    first, second = seed_rows(tmp_path)
    assert (first["setting/crop"], first["runs"], first["score/small"], first["score/small/n"]) == ("200", 4, 0.5, 4)
    assert (first["score/small/low"], first["score/small/high"], first["score/all"]) == (0.0, 1.0, 0.75)
    assert (second["setting/crop"], second["runs"], second["score/all"]) == ("400", 1, 0.25)
    assert not any("seed" in key for key in first)


def test_runs_that_answered_other_questions_are_not_put_together(tmp_path):
    run(tmp_path / "a", "seed=0", {}, {"s1": 0.0})
    run(tmp_path / "b", "seed=1", {}, {"s2": 0.0})
    with pytest.raises(UserError, match="a and b differ only in their seed, but have answered different questions"):
        seed_rows(tmp_path)


def test_the_script_writes_its_tables_beside_the_results(sweep, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gains.py", str(sweep)])
    write_tables(load_script("gains.py").TABLES, "outputs/main")
    with (sweep / "gains.csv").open() as file:
        assert [row["job"] for row in csv.DictReader(file)] == ["a", "b", "a", "b"]
    with (sweep / "seeds.csv").open() as file:
        assert [(row["setting/tool"], row["runs"]) for row in csv.DictReader(file)] == [("none", "1"), ("zoom", "1")]
    with (sweep / "course.csv").open() as file:
        assert [(row["job"], row["first/score/all"]) for row in csv.DictReader(file)] == [("a", "0.25"), ("b", "0.25")]
    with (sweep / "validations.csv").open() as file:
        found = [(row["job"], row["step"], row["score/all"]) for row in csv.DictReader(file)]
    assert found == [("a", "0", "0.0"), ("b", "0", "0.0")]
    with (sweep / "calls.csv").open() as file:
        found = [(row["job"], row["when"], row["calling"], row["tokens/without"]) for row in csv.DictReader(file)]
    assert found == [(job, when, "0.0", "9.0") for job in ("a", "b") for when in ("before", "after")]
