"""python src/mine.py, as a user runs it, with the miniature's own base."""

import csv
import sys
from statistics import fmean

import published
import pytest

import mine as entry
from loupe.data.signs import Signs

FEW = ["data.n_train=24", "evaluate.samples=2", "logger=none", "trainer.enable_progress_bar=false"]


def run(monkeypatch, folder, *overrides):
    monkeypatch.setattr(sys, "argv", ["mine.py", *FEW, f"paths.output_dir={folder}", *overrides])
    entry.main()


def scores(file):
    with file.open() as lines:
        return {row["id"]: float(row["score"]) for row in csv.DictReader(lines)}


def test_mined_scores_predict_what_is_small(tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path)
    mined = scores(tmp_path / "mined.csv")
    signs = Signs("train", 0, 24)
    assert list(mined) == signs.ids
    of = {size: [mined[example.id] for example in signs if example.subset == size] for size in ("small", "large")}
    assert min(map(len, of.values())) >= 5
    assert fmean(of["small"]) < 0.1 < 0.7 < fmean(of["large"])  # without the tool; the base reads 97% of large ones
    told = capsys.readouterr().out
    assert "small: " in told and "never correct 100%" in told and f"data.mined={tmp_path}" in told


def test_shards_give_what_one_process_gives(tmp_path, monkeypatch):
    few = ["model=tiny_random", "data.n_train=5", "rollout.max_new_tokens=2"]
    run(monkeypatch, tmp_path / "one", *few)
    for shard in range(2):
        run(monkeypatch, tmp_path / "two", *few, f"mine.shard={shard}", "mine.shards=2")
    parts = [scores(tmp_path / "two" / f"{shard}-of-2" / "mined.csv") for shard in range(2)]
    assert [len(part) for part in parts] == [3, 2]
    assert parts[0] | parts[1] == scores(tmp_path / "one" / "mined.csv")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mine.shard=1", "mine.shard=1: must be below mine.shards=1"),
        ("mine.shards=0", "mine.shards=0: must be a whole number, 1 or more"),
    ],
)
def test_bad_settings(tmp_path, monkeypatch, override, message):
    few = [setting for setting in FEW if "n_train" not in setting]
    monkeypatch.setattr(sys, "argv", ["mine.py", *few, f"paths.output_dir={tmp_path}", override])
    with pytest.raises(SystemExit, match=message):
        entry.main()


def test_a_benchmark_has_nothing_to_train_on(tmp_path, monkeypatch):
    files = published.vstar_jsonl(tmp_path / "vstar")
    with pytest.raises(SystemExit, match=r"evaluate\.split=train: this data set has no such split; it has test"):
        few = [setting for setting in FEW if "n_train" not in setting]
        monkeypatch.setattr(
            sys, "argv", ["mine.py", *few, "data=vstar", f"data.path={files}", f"paths.output_dir={tmp_path / 'out'}"]
        )
        entry.main()
