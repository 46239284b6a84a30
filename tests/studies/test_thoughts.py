"""Thoughts that name a sign, and what the answers after them owe to it."""

import json

import pandas
import pytest
from conftest import load_script

from loupe.data.beside import Row
from loupe.data.drawing import COLORS
from loupe.data.scenes import SceneStyle
from loupe.errors import UserError
from loupe.rewards.boxes import box_iou
from loupe.studies import thoughts as study
from loupe.studies.tables import write_tables

STYLE = SceneStyle(n_signs=(3, 3))
SCENES = {f"signs/test/15/{index}": Row("test", 15, index, STYLE) for index in range(2)}


def answer(key, thought, sign, sample=0):
    """An answer with the box of ``sign``."""
    asked = SCENES[key].asked
    return {
        **{"id": key, "cluster": None, "cycle": None, "subset": asked.size, "sample": sample, "condition": "sampled"},
        **{"turns": [f"<think>{thought}</think>\n<answer>..</answer>"], "box": sign and list(map(float, sign.box))},
        "iou": box_iou(sign.box, asked.box) if sign else 0.0,
    }


def named(key, color, placed=None):
    stand = {sign.color: place for place, sign in enumerate(SCENES[key].order, 1)}
    placed = placed or " ".join(f"{color}{stand.get(color, 0)}" for color in COLORS)
    return f"I see {placed}. Left of red2 is 1: {color}."


def test_thoughts_are_compared_with_the_scene_and_with_the_answer():
    one, two = SCENES
    asked, other, _ = SCENES[one].signs
    rows = [
        answer(one, named(one, asked.color), asked),
        answer(one, "I can see it.", other, 1),
        answer(two, named(two, SCENES[two].signs[1].color), SCENES[two].signs[1]),
        answer(two, named(two, SCENES[two].signs[1].color, "red1 blue2"), SCENES[two].asked, 1),
        answer(two, named(two, "beige"), SCENES[two].asked, 2),
        answer(two, named(two, SCENES[two].signs[2].color), None, 3),
    ]
    found = study.thoughts(rows, SCENES)
    assert found["n"] == 6 and found["iou"] == pytest.approx(sum(row["iou"] for row in rows) / 6)
    assert found["named"] == 5 / 6
    assert (found["right"], found["placed"], found["follows"]) == (1 / 5, 4 / 5, 1 / 3)  # beige is none to follow
    assert (
        found["iou/right"] == 1
        and found["iou/wrong"] == 2 / 4
        and found["iou/silent"] == found["iou/named"] - 3 / 5 == 0
    )
    assert (found["gain"], found["gain/n"]) == (1, 1)  # only the first question was answered both ways


def test_where_there_is_nothing_to_count():
    one, _ = SCENES
    found = study.thoughts([answer(one, "I can see it.", SCENES[one].asked)], SCENES)
    assert found["named"] == 0 and found["iou/silent"] == 1
    assert {found[key] for key in ("right", "placed", "follows", "iou/named", "iou/right", "iou/wrong")} == {None}
    assert "gain" not in found


def test_scenes_are_those_of_the_questions():
    data = {"_target_": "loupe.data.beside.beside_datamodule"} | vars(STYLE)
    assert study._scenes({"data": data}, SCENES) == SCENES
    with pytest.raises(UserError, match="evaluate with data=beside"):
        study._scenes({"data": data | {"_target_": "loupe.data.signs.boxes_datamodule"}}, SCENES)


def evaluated(folder, name):
    """A finished evaluation of a sweep, in which one question was answered in two ways."""
    job = folder / name
    job.mkdir()
    key, asked = "signs/test/15/0", SCENES["signs/test/15/0"].asked
    rows = [answer(key, "I can see it.", None), answer(key, named(key, asked.color), asked, 1)]
    rows[0]["condition"] = "greedy"
    pandas.DataFrame(rows).to_parquet(job / "answers.parquet")
    data = {"_target_": "loupe.data.beside.beside_datamodule"} | vars(STYLE)
    (job / "evaluation.json").write_text(json.dumps({"settings": {"data": data}, "metrics": {}}))
    return job


def test_the_script_writes_a_row_for_each_condition_and_the_course_of_each_training(tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    evaluated(tmp_path, "e")
    steps = [{"step": 0, "val/score/all": 0.0}]
    steps += [{"step": step, "think/words": step + 1.0, "reward/iou": 0.25} for step in range(12)]
    (tmp_path / "t" / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    jobs = [{"job": "e", "setting/seed": 0}, {"job": "t", "setting/seed": 1}]
    monkeypatch.setattr(study, "job_rows", lambda folder: jobs)
    monkeypatch.setattr(study, "trainings", lambda folder: jobs[1:])
    monkeypatch.setattr("sys.argv", ["thoughts.py", str(tmp_path)])
    write_tables(load_script("thoughts.py").TABLES, "outputs/thinking")
    thoughts = pandas.read_csv(tmp_path / "thoughts.csv")
    assert thoughts[["job", "condition", "named", "iou"]].values.tolist() == [
        ["e", "greedy", 0, 0],
        ["e", "sampled", 1, 1],
    ]
    words = pandas.read_csv(tmp_path / "words.csv")
    assert words[["job", "step", "words", "iou"]].values.tolist() == [["t", 4, 3, 0.25], ["t", 9, 8, 0.25]]


def test_a_sweep_without_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "job_rows", lambda folder: [{"job": "t"}])
    with pytest.raises(UserError, match="no finished evaluation of a sweep"):
        study.thought_rows(tmp_path)
