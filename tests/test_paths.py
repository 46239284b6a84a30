from pathlib import Path

import pytest

from loupe.paths import PROJECT, located, moved, of_setting, portable


@pytest.mark.parametrize("name", ["src/loupe", f"{PROJECT}/src/loupe", "./src/../src/loupe"])
def test_a_folder_of_the_project_is_named_from_there_and_found_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(PROJECT)
    assert portable(name) == "./src/loupe"
    monkeypatch.chdir(tmp_path)
    assert Path(located("./src/loupe")).samefile(PROJECT / "src" / "loupe")


def test_a_folder_elsewhere_is_named_by_its_whole_path(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert portable("owner/name") == located(portable("owner/name")) == str(tmp_path / "owner" / "name")


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-VL-3B-Instruct", "/nowhere/at/all", "./gone"])
def test_what_is_no_folder_here_keeps_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert portable(name) == located(name) == name


def test_paths_move_with_their_folder_and_nothing_else_changes():
    others = {"data": "/runs/ab/x.csv", "text": "see /runs/a", "seed": 3, "resume": None}
    content = {"/runs/a": ["/runs/a/best.ckpt", 3], "others": others}
    assert moved(content, "/runs/a", "/b") == {"/b": ["/b/best.ckpt", 3], "others": others}


@pytest.mark.parametrize(("value", "path"), [("~/coco", "/home/me/coco"), (2014, "2014"), ("a~b/~", "a~b/~")])
def test_a_setting_may_name_the_home_folder_or_look_like_a_number(monkeypatch, value, path):
    monkeypatch.setenv("HOME", "/home/me")
    assert of_setting(value) == Path(path)
