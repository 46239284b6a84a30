"""Questions of one's own: the same examples from every form, splits by picture, and what is wrong with a table."""

import json
import logging
import shutil
from types import SimpleNamespace

import datasets
import pytest
from conftest import compose_config
from helpers import own_data
from omegaconf import OmegaConf
from PIL import Image

from loupe import hub
from loupe.data import reading, vqa
from loupe.errors import UserError
from loupe.pictures import open_picture
from loupe.runs.config import instantiate


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def settings():
    """The settings of conf/data/vqa.yaml, composed once."""
    return compose_config("data=vqa").data


@pytest.fixture
def load(settings):
    def load(path, **changes):
        return instantiate(OmegaConf.create({**settings, "path": str(path), **changes}))

    return load


@pytest.fixture
def write(tmp_path):
    """Writes one table beside two pictures, a.png and b.png."""
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 20), color).save(tmp_path / f"{name}.png")

    def write(rows, name="labels.jsonl"):
        text = rows if isinstance(rows, str) else "\n".join(map(json.dumps, rows))
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


ROW = {"image": "a.png", "question": "What?", "answers": "red"}
ALL_TEST = {"val": 0, "test": 1}


def rows_of(split):
    return [] if split is None else [split[i] for i in range(len(split))]


def content(example):
    """An example with the pixels of its picture in place of the picture."""
    return {**vars(example), "image": open_picture(example.image).tobytes()}


@pytest.mark.parametrize("form", own_data.FORMS)
def test_every_form_gives_the_same_examples(tmp_path, load, form):
    own_data.FORMS[form](tmp_path / form)
    module = load(tmp_path / form)
    found = {split: rows_of(getattr(module, split)) for split in own_data.SPLIT_SIZES}
    assert {split: len(examples) for split, examples in found.items()} == own_data.SPLIT_SIZES
    everything = [example for examples in found.values() for example in examples]
    for number, (example, row) in enumerate(zip(everything, own_data.rows(), strict=True)):
        assert content(example) == {
            **vars(vqa.Example(row["id"], b"", row["question"], tuple(row["answers"]), subset=row["subset"])),
            "target_boxes": (tuple(row["box"]),) if row["box"] else (),
            "image": Image.new("RGB", (40, 30), (5 * number, 0, 99)).tobytes(),
        }


def test_a_hub_id(tmp_path, load, monkeypatch):
    own_data.on_the_hub(tmp_path / "copy")
    monkeypatch.setattr(hub, "prepare", lambda: None)
    monkeypatch.setattr(vqa, "snapshot_download", lambda name, repo_type: str(tmp_path / "copy"))
    assert len(load("somebody/questions").train) == own_data.SPLIT_SIZES["train"]

    def missing(name, repo_type):
        raise FileNotFoundError(f"no {name}")

    monkeypatch.setattr(vqa, "snapshot_download", missing)
    with pytest.raises(
        UserError, match=r"\(my/folder: no my/folder\); my/folder is no file or folder here either; give"
    ):
        load("my/folder")
    with pytest.raises(UserError, match=r"data\.path=no/such/folder: no such file or folder"):
        load("no/such/folder")
    with pytest.raises(UserError, match=r"data\.path is empty; give"):
        load("")


def test_what_the_splits_lack_is_held_out_by_picture(write, tmp_path, load):
    """a.png is also called copy.png, so the questions about both stay together."""
    for number in range(8):
        Image.new("RGB", (9, 9), (0, number, 0)).save(tmp_path / f"{number}.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "copy.png")
    names = ["a.png", "copy.png", "a.png", "copy.png", *(f"{number}.png" for number in range(8))]
    folder = write([ROW | {"image": name} for name in names])
    seen = set()
    for seed in range(6):
        module = load(folder, split={"val": 0.3, "test": 0.2}, heldout_seed=seed)
        parts = [rows_of(split) for split in (module.train, module.val, module.test)]
        assert sum(map(len, parts)) == 12 and all(parts)
        about = [{content(example)["image"] for example in part} for part in parts]
        assert not about[0] & about[1] and not about[0] & about[2] and not about[1] & about[2]
        seen.add(tuple(example.id for example in parts[1]))
    assert len(seen) > 1
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    again = load(moved, split={"val": 0.3, "test": 0.2}, heldout_seed=5)
    assert [example.id for example in rows_of(again.val)] == [example.id for example in parts[1]]


def test_shares_and_limits(write, load):
    folder = write([ROW, ROW | {"image": "b.png"}, ROW])
    module = load(folder, split=ALL_TEST)
    assert module.train is module.val is None and len(module.test) == 3
    assert len(load(folder, split=ALL_TEST, n_test=2).test) == 2
    module = load(folder, split=None)
    assert len(module.train) == 3 and module.val is module.test is None
    with pytest.raises(UserError, match=r"data\.split: too few pictures to hold some out \(2\)"):
        load(folder)
    with pytest.raises(UserError, match="the shares must be at most 1 together"):
        load(folder, split={"val": 0.5, "test": 0.6})
    with pytest.raises(
        UserError, match=r"data\.split=0\.1: must be shares of the questions by split, such as {val: 0.1"
    ):
        load(folder, split=0.1)
    with pytest.raises(UserError, match=r"data\.columns=photo: must be names of columns by kind"):
        load(folder, columns="photo")


def test_a_picture_on_both_sides_is_reported(write, load, caplog):
    write([ROW, ROW | {"image": "b.png"}], "train.jsonl")
    folder = write([ROW], "dev.jsonl")
    with caplog.at_level(logging.WARNING):
        module = load(folder, split={"val": 0.5})
    assert len(module.train) == 2 and len(module.val) == 1
    assert "1 questions of val are about pictures of train" in caplog.text


@pytest.mark.parametrize(
    ("cells", "metric", "expected"),
    [
        ({"answers": "B", "options": ["red", "blue"]}, None, ("B",)),
        ({"answers": "(b)", "options": {"A": "red", "B": "blue"}}, None, ("B",)),
        ({"answers": "blue", "options": "['red', 'blue']"}, None, ("B",)),
        ({"answers": "B", "A": "red", "B": "blue", "C": "", "D": None}, None, ("B",)),
        ({"answers": "blue", "options": ["red", "blue"]}, "exact", ("blue",)),  # the options are not used
        ({"answers": [{"answer": "x"}, {"answer": "y"}]}, None, ("x", "y")),  # VQAv2's form
        ({"answers": [3, 2.0, 2.5, True]}, "contains", ("3", "2", "2.5", "true")),
        ({"answers": "about 50%"}, "number", ("about 50%",)),
        ({"answers": "{{1}}"}, None, ("{{1}}",)),
        ({"answers": "{1, 2}"}, None, ("{1, 2}",)),
        ({"answers": "[0], [1]"}, None, ("[0], [1]",)),
        ({"answers": "['x', 'y']"}, None, ("x", "y")),
    ],
)
def test_answers(write, load, cells, metric, expected):
    (example,) = rows_of(load(write([ROW | cells]), metric=metric, split=ALL_TEST).test)
    assert example.references == expected
    assert example.metric == (metric or "vqa")
    if expected == ("B",):
        assert example.options == ("red", "blue") and "(A) red\n(B) blue\n" in example.question


def test_options_that_the_question_lists_are_not_repeated(write, load):
    asked = "<image>\nWhich?\nA. red\nB. blue\nThe letter, please."
    folder = write([ROW | {"question": asked, "answers": "A", "options": ["red", "blue"]}])
    assert rows_of(load(folder, split=ALL_TEST).test)[0].question == asked.removeprefix("<image>\n")


@pytest.mark.parametrize(
    ("cells", "changes", "target", "answer"),
    [
        ({"answers": [4, 2, 20, 10]}, {}, (4, 2, 20, 10), True),
        ({"answers": "[4, 2, 20, 10]"}, {}, (4, 2, 20, 10), True),
        ({"answers": [4, 2, 16, 8]}, {"box_format": "xywh"}, (4, 2, 20, 10), True),
        ({"answers": [0.1, 0.1, 0.5, 0.5]}, {"box_unit": "relative"}, (4, 2, 20, 10), True),
        ({"bbox": [4, 2, 20, 10]}, {"metric": "iou"}, (4, 2, 20, 10), True),  # no column of answers
        ({"label": "red", "bbox": [4, 2, 20, 10]}, {"metric": "iou"}, (4, 2, 20, 10), True),
        ({"answers": "red", "bbox": [[4, 2, 20, 10]]}, {}, (4, 2, 20, 10), False),
    ],
)
def test_boxes(write, load, cells, changes, target, answer):
    row = {"image": "a.png", "question": "Where?"} | cells
    (example,) = rows_of(load(write([row]), split=ALL_TEST, **changes).test)
    assert example.target_boxes == (pytest.approx(target),)
    assert example.answer_box == (pytest.approx(target) if answer else None)
    assert example.references == (() if answer else ("red",))


@pytest.mark.parametrize(
    ("cells", "changes", "reason"),
    [
        ({"image": None}, {}, "without a picture"),
        ({"image": ["a.png", "b.png"]}, {}, "with several pictures; each needs one"),
        ({"image": "https://example.org/a.png"}, {}, "whose picture is a web address; download the pictures"),
        ({"image": "nowhere.png"}, {}, "nowhere.png; data.images)"),
        ({"image": "data:image/png;base64,?"}, {}, "whose picture is not valid base64"),
        ({"question": " "}, {}, "without a question"),
        ({"answers": []}, {}, "without an answer"),
        ({"answers": None}, {}, "without an answer"),
        ({"answers": "C", "options": ["red", "blue"]}, {}, "neither the letter nor the text of one of its options"),
        ({"options": ["red"]}, {}, "with fewer than two options"),
        ({"options": "{'A': 'red', 1: 'blue'}"}, {}, "whose options are not called A, B and so on"),
        ({}, {"metric": "choice"}, "with fewer than two options"),
        ({}, {"metric": "iou"}, "with a box that is not four numbers"),
        ({}, {"metric": "number"}, "whose answer has no number"),
        ({"bbox": [4, 2, 3, 1]}, {}, "with a box without width or height as xyxy; see data.box_format"),
        ({"bbox": [0.1, 0.1, 0.5, 0.5]}, {}, "with a box that is not in pixels units; see data.box_unit"),
        ({"split": "holdout"}, {}, "whose split is neither train nor val nor test ('holdout')"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(write, load, caplog, cells, changes, reason):
    good = ROW | {"answers": "red 1", "options": None, "bbox": None, "split": "test"}
    good |= {"options": {"A": "red 1", "B": "blue"}} if changes.get("metric") == "choice" else {}
    good |= {"answers": [4, 2, 20, 10]} if changes.get("metric") == "iou" else {}
    folder = write([good, ROW | {"options": None, "split": "test"} | cells])
    with caplog.at_level(logging.WARNING):
        module = load(folder, **changes)
    assert len(module.test) == 1
    (line,) = caplog.text.splitlines()
    assert f"{folder / 'labels.jsonl'}: skipped rows" in line and reason in line and line.endswith(": 2")


def test_broken_lines(write, load, caplog):
    text = 'image,question,answer\n"a.png,What?,red\n'
    folder = write(
        'image,question,answer\na.png,What?,red\na.png,Red, or not?,red\n\na.png,x,"y" z\na.png,Who?,me\n', "l.csv"
    )
    with caplog.at_level(logging.WARNING):
        assert [example.id for example in rows_of(load(folder, split=ALL_TEST).test)] == ["l/1", "l/4"]
    assert "with more or fewer cells than the header; quote cells that hold the separator: 2" in caplog.text
    assert "with a quote that is never closed, or stands within a cell; double it: 3" in caplog.text
    write(text, "l.csv")
    with pytest.raises(
        UserError, match=r"l\.csv: none of its first rows is usable \(the first is one of those with a quote"
    ):
        load(folder)
    (folder / "l.csv").unlink()
    write(f"{json.dumps(ROW)}\n{{\n[]\n", "l.jsonl")
    assert len(load(folder, split=ALL_TEST).test) == 1
    assert "that are not JSON: 2" in caplog.text and "that are not JSON objects: 3" in caplog.text


@pytest.mark.parametrize(
    ("rows", "read", "reason"),
    [
        (["a.png,q2,y", 'a.png,"q\n2",y'], [1, 2, 3, 4, 5, 6], ""),
        (['a.png,q2,"y'], [1, 3, 4, 5], "with a quote that is never closed, or stands within a cell; double it: 2"),
        (['a.png,"q2,y', 'a.png,q3,"y'], [1, 4, 5, 6], "double it: 2, 3"),
        (['a.png,q2,"y', 'a.png,"",q'], [1, 4, 5, 6], "without a question: 3"),
        (
            ['a.png,q2,more,"y', "a.png,q3,y", 'a.png,q4,y"'],
            [1, 3, 4, 5, 6, 7],
            "quote cells that hold the separator: 2",
        ),
    ],
)
def test_an_open_quote_breaks_its_own_line_only(write, load, caplog, rows, read, reason):
    rest = ["a.png,other,x", "a.png,other,x", 'a.png,other,"x"']
    folder = write("\n".join(["image,question,answer", "a.png,first,x", *rows, *rest]), "l.csv")
    with caplog.at_level(logging.WARNING):
        assert [example.id for example in rows_of(load(folder, split=ALL_TEST).test)] == [f"l/{n}" for n in read]
    assert reason in caplog.text and bool(caplog.text) == bool(reason)


def test_an_open_quote_in_the_header(write, load):
    folder = write('image,question,"answer\na.png,What?,red\n', "l.csv")
    with pytest.raises(UserError, match=r"l\.csv: the header has a quote that is never closed"):
        load(folder)


def test_a_repeated_id_gets_its_row(write, load):
    folder = write([ROW | {"id": 7}, ROW | {"id": 7}, ROW | {"id": None}])
    assert [example.id for example in rows_of(load(folder, split=ALL_TEST).test)] == ["7", "7/2", "labels/3"]


def test_ids_that_begin_anew_in_each_table_stay_apart(write, load):
    folder = write([ROW | {"id": 1}], name="train-1.jsonl")
    write([ROW | {"id": 1}], name="train-2.jsonl")
    write([ROW | {"id": 1}], name="train-3.jsonl")
    assert [example.id for example in rows_of(load(folder, split=None).train)] == ["1", "1/1", "1/1/1"]


def test_columns_of_other_names(write, load):
    row = {"meta": {"file": "a.png"}, "turns": [{"value": "<image>What?"}, {"value": "red"}], "x": "red", "y": "blue"}
    columns = {"image": "meta.file", "question": "turns.0.value", "answers": "turns.1.value", "options": ["x", "y"]}
    (example,) = rows_of(load(write([row]), columns=columns, split=ALL_TEST).test)
    assert example.question.startswith("What?\n(A) red") and example.references == ("A",)
    lacks = "no column for image, question, answers, only meta, turns, x, y; set data.columns='{image: <column>,"
    with pytest.raises(UserError, match=lacks):
        load(write([row]))
    with pytest.raises(UserError, match=r"data\.columns: image=file: no such column; \S+ has meta, turns, x, y"):
        load(write([row]), columns=columns | {"image": "file"})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no table there; it must hold a file that ends in .csv, .tsv, .jsonl, .json, .parquet"),
        ({"a.csv": "x", "b.csv": "x"}, r"several tables there \(a.csv, b.csv\); give data.path=<one of them>"),
        ({"train.csv": "x", "train.json": "x"}, r"several tables of train there \(train.csv, train.json\)"),
        ({"a.csv": ""}, "a.csv: has no rows"),
        ({"a.csv": "image,question\n"}, "a.csv: has no rows"),
        ({"a.json": "{"}, "a.json: not in JSON"),
        ({"a.json": '{"a": 1}'}, "a.json: holds no list of rows"),
        ({"a.parquet": "PAR1"}, "a.parquet: not in parquet's format"),
        ({"a.csv": b"image,question,answer\na.png,caf\xe9,x\n"}, "a.csv: not in UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, load, files, message):
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_tables_without_a_split_beside_others_are_named(write, load, caplog):
    write([ROW], "notes.jsonl")
    folder = write([ROW], "test.jsonl")
    with caplog.at_level(logging.WARNING):
        assert len(load(folder).test) == 1
    assert "not read, because the names tell no split: notes.jsonl" in caplog.text


def test_the_names_of_classes(tmp_path, load):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = [{"image": {"bytes": own_data.picture(1)}, "question": "What?", "label": label} for label in (1, 0, -1)]
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "test.parquet")
    assert [example.references for example in rows_of(load(tmp_path).test)] == [("dog",), ("cat",)]


def test_a_table_is_read_once_but_its_pictures_are_looked_for_each_time(write, load, monkeypatch):
    folder = write([ROW, ROW | {"image": "late.png"}])
    assert len(load(folder, split=ALL_TEST).test) == 1
    Image.new("RGB", (9, 9)).save(folder / "late.png")
    assert len(load(folder, split=ALL_TEST).test) == 2
    write([ROW] * 3)
    assert len(load(folder, split=ALL_TEST).test) == 3


def test_a_table_is_read_again_when_the_code_that_reads_it_has_changed(write, load, tmp_path, monkeypatch):
    folder, read = write([ROW]), []
    code = SimpleNamespace(__file__=str(tmp_path / "code.py"))
    monkeypatch.setattr(reading, "SHAPED_BY", (code,))
    monkeypatch.setattr(reading.Reading, "record", lambda *_, of=reading.Reading.record: read.append(1) or of(*_))
    for text, times in (("a", 1), ("a", 1), ("b", 2)):
        (tmp_path / "code.py").write_text(text)
        load(folder, split=ALL_TEST)
        assert len(read) == times


def test_a_relative_path_means_another_folder_elsewhere(write, tmp_path, load, monkeypatch):
    """What is kept of a table does not hold a path that depends on the working directory."""
    write([ROW])
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(load("labels.jsonl", images=".", split=ALL_TEST).test) == 1
    monkeypatch.chdir(tmp_path / "below")
    assert len(load("../labels.jsonl", images="..", split=ALL_TEST).test) == 1
    with pytest.raises(UserError, match="none of its 1 rows is usable"):
        load("../labels.jsonl", images=".", split=ALL_TEST)
    with pytest.raises(UserError, match=r"data\.images=\S+nowhere: no such folder"):
        load("../labels.jsonl", images="nowhere")
