import io
import json
import random
import shutil

import datasets
import published
import pytest
from conftest import compose_config, make_rollout
from PIL import Image

from loupe.data.refcoco import PUBLISHED_ROWS, heldout, refcoco_datamodule
from loupe.errors import BadExample, UserError
from loupe.pictures import open_picture
from loupe.records import Example
from loupe.runs.config import instantiate

GIVEN = {
    **{"dataset": "refcoco", "train": None, "images": None, "question": "Where? {expression}", "val_split": "val"},
    **{"test_split": "testA", "seed": 0, "n_train": None, "n_val": None, "n_test": None},
    **{"batch_size": 2, "eval_batch_size": 2},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return published.refcoco(tmp_path_factory.mktemp("refcoco") / "files")


def load(path, **changes):
    return refcoco_datamodule(str(path), **GIVEN | changes)


def test_the_published_splits(files):
    data = load(files)
    rows = published.refcoco_rows("testA")
    assert len(data.test) == 2 * len(rows)  # a question for every expression
    first, second, third = (data.test[i] for i in range(3))
    assert (first.id, second.id, third.id) == ("refcoco/testA/500/0", "refcoco/testA/500/1", "refcoco/testA/501/0")
    assert first.question == f"Where? {rows[0]['answer'][0]}" and second.question == f"Where? {rows[0]['answer'][1]}"
    x, y, width, height = rows[0]["bbox"]
    assert first.answer_box == (x, y, x + width, y + height) == second.target_boxes[0]
    assert first.cluster == second.cluster != third.cluster  # one box, described twice
    assert open_picture(first.image).size == (1600, 1200)


def test_each_data_set_has_its_own_files(files, tmp_path):
    for name in ("RefCOCO", "RefCOCOg"):
        shutil.copytree(files / "data", tmp_path / name / "data")
    text = (files / "refcoco_train.jsonl").read_text()
    for name in ("refcoco", "refcocog"):
        (tmp_path / f"{name}_train.jsonl").write_text(text)
    data = load(tmp_path, dataset="refcocog", images=str(files))
    assert len(data.test) == 6 and data.test[0].id.startswith("refcocog/testA/")
    assert data.train[0].id == "refcocog_train/0"
    with pytest.raises(UserError, match="none of its training files is refcocop_train"):
        load(tmp_path, dataset="refcocoplus")
    with pytest.raises(UserError, match="val is in several folders there; give the one of refcocoplus"):
        load(tmp_path, dataset="refcocoplus", train=str(files / "refcoco_train.jsonl"))


def test_a_question_may_contain_other_braces(files):
    question = 'Answer with {"bbox_2d": [..]}: {expression}'
    data = load(files, question=question)
    assert data.test[0].question.startswith('Answer with {"bbox_2d": [..]}: ')
    assert data.train[0].question.startswith('Answer with {"bbox_2d": [..]}: ')


@pytest.mark.parametrize(("name", "text"), [("a_train.jsonl", ""), ("a_train.json", "7"), ("a_train.json", "{")])
def test_files_without_training_data_are_refused(files, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        load(files, train=str(tmp_path / name))


def test_a_known_box(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "PNG")
    row = published.refcoco_rows("val", 1)[0] | {"bbox": [2.5, 3.0, 10.0, 20.0], "answer": [" man in red "]}
    row["image"] = {"bytes": picture.getvalue(), "path": None}
    for split in ("val", "testA"):
        datasets.Dataset.from_list([row]).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    (example,) = load(tmp_path).val
    assert example.answer_box == (2.5, 3.0, 12.5, 23.0)
    assert example.question == "Where? man in red"


def test_training_in_both_formats_of_the_json(files):
    train = load(files).train
    assert len(train) == 6
    for number, example in enumerate(train):
        sign = published.SignScene("refcoco train", 0, number).asked
        assert example.answer_box == tuple(map(float, sign.box))
        assert example.question == f"Where? {sign.color} sign"
        assert example.id == f"refcoco_train/{number}"
        assert open_picture(example.image).size == (1600, 1200)
    assert len(load(files, n_train=2, n_val=1, n_test=3).train) == 2


def test_held_out_pictures_are_not_trained_on(files, tmp_path, caplog):
    shutil.copytree(files, tmp_path / "copy")
    rows = published.refcoco_rows("val")
    rows[1]["file_name"] = "COCO_train2014_000000000004_2.jpg"  # trained on
    (file,) = (tmp_path / "copy" / "data").glob("val-*")
    datasets.Dataset.from_list(rows).to_parquet(file)
    data = load(tmp_path / "copy", n_train=1)  # whichever part of the file is used
    assert [data.val[i].cluster for i in range(4)] == ["refcoco/val/500"] * 2 + ["refcoco/val/502"] * 2
    assert len(data.val) == 4 and len(data.test) == 6
    assert "refcoco/val: skipped rows whose picture is in the training file: 2\n" in caplog.text
    for row in rows:
        row["file_name"] = "COCO_train2014_000000000004_2.jpg"
    datasets.Dataset.from_list(rows).to_parquet(file)
    with pytest.raises(UserError, match="refcoco/val: all of its pictures are in the training file"):
        load(tmp_path / "copy")


@pytest.mark.parametrize(("n", "warned"), [(3, False), (4, True)])
def test_a_split_of_another_size_than_the_published_one_is_named(monkeypatch, caplog, n, warned):
    monkeypatch.setitem(PUBLISHED_ROWS["refcoco"], "val", 3)
    heldout(datasets.Dataset.from_list(published.refcoco_rows("val", n)), "refcoco", "val", "{expression}")
    assert ("refcoco/val: has 4 rows, the published split 3; scores do not compare\n" in caplog.text) == warned


def test_the_test_split_of_each_data_set(files, tmp_path):
    assert load(files, test_split=None).test[0].id.startswith("refcoco/testA/")
    with pytest.raises(UserError, match=r"no file .*RefCOCOg/\*\*/test-"):
        load(files, dataset="refcocog", test_split=None)


def test_an_evaluation_file_of_vlm_r1(files, tmp_path):
    entries = [json.loads(line) for line in (files / "refcoco_train.jsonl").read_text().splitlines()]
    entries = [entry for entry in entries if "problem" in entry] * 10
    entries[4] = entries[4] | {"solution": None}
    (tmp_path / "lisa_test.json").write_text(json.dumps(entries))
    data = load(None, test=str(tmp_path / "lisa_test.json"), images=str(files), n_test=20)
    order = list(range(30))
    random.seed(42)
    random.shuffle(order)
    order.remove(4)
    assert [data.test[i].id for i in range(len(data.test))] == [f"lisa_test/{number}" for number in order[:20]]
    assert data.train is None and data.val is None
    with pytest.raises(UserError, match=r"data\.test=none\.json: no such file; give VLM-R1's json"):
        load(None, test="none.json")


def test_training_on_hard_questions(files, tmp_path):
    (tmp_path / "mined.csv").write_text("id,score\n" + "".join(f"refcoco_train/{i},{i / 5}\n" for i in range(6)))
    train = load(files, mined=str(tmp_path), mix="at_most_half").train
    assert [example.id for example in train] == [f"refcoco_train/{i}" for i in range(3)]


def test_unusable_rows_are_named(files, tmp_path, caplog):
    entries = [json.loads(line) for line in (files / "refcoco_train.jsonl").read_text().splitlines()]
    entries[0]["image"] = "train2014/gone.jpg"
    entries[1]["solution"] = [5, 5, 5, 9]
    entries[2]["conversations"][1]["value"] = "I cannot see it"
    entries[3]["problem"] = None
    lines = [*map(json.dumps, entries), "{broken"]
    file = tmp_path / "some_train.jsonl"
    file.write_text("\n".join(lines) + "\n")
    train = load(files, train=str(file), images=str(files)).train
    assert [example.id for example in train] == ["some_train/4", "some_train/5"]
    assert f"{file}: skipped rows without a usable image: 1, 7\n" in caplog.text
    assert f"{file}: skipped rows without a usable expression: 4, 7\n" in caplog.text
    assert f"{file}: skipped rows without a usable box: 2, 3, 7\n" in caplog.text


def test_a_box_outside_the_picture_is_refused_by_name(shared_policy):
    rollout = make_rollout(shared_policy)
    picture = published.jpeg(published.SignScene("test", 0, 0))
    inside = Example("in", picture, "?", (), answer_box=(0, 0, 1600.6, 1200))
    assert rollout.dialogue.prompt(inside).frame.original == (1600, 1200)
    for box in [(0, 0, 1602, 9), (-2, 0, 9, 9), (9, 9, 9, 10)]:
        with pytest.raises(BadExample, match=r"out: the box \[.*\] is outside the 1600x1200 picture; fix"):
            rollout.dialogue.prompt(Example("out", picture, "?", (), answer_box=box))


def test_without_the_json_there_is_nothing_to_train_on(files, tmp_path):
    shutil.copytree(files / "data", tmp_path / "data")
    data = load(tmp_path)
    assert data.train is None
    with pytest.raises(UserError, match="no training split"):
        data.train_dataloader()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "coco"}, "data.dataset=coco: must be one of refcoco, refcocoplus, refcocog"),
        ({"question": "Where?"}, "must contain {expression}"),
        ({"train": "none.jsonl"}, "data.train=none.jsonl: no such file"),
        ({"test_split": "testC"}, "no file .*testC"),
        ({"n_train": 0}, "data.n_train=0"),
    ],
)
def test_bad_settings(files, changes, message):
    with pytest.raises(UserError, match=message):
        load(files, **changes)


def test_the_configuration(files):
    cfg = compose_config("data=refcoco", f"data.path={files}", "model=tiny")
    assert (cfg.resolution, len(instantiate(cfg.data).train)) == (1024, 6)
    assert "Qwen2.5-VL-3B" in compose_config("data=refcoco").model.path


def write_parquet(folder, answers):
    rows = [row | {"answer": answer} for row, answer in zip(published.refcoco_rows("val"), answers, strict=False)]
    for row in rows:
        row["image"] = {"bytes": b"", "path": None}
    for split in ("val", "testA"):
        datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_empty_expressions_are_left_out(tmp_path):
    write_parquet(tmp_path, [["red sign", "", None], [" ", None], ["blue sign"]])
    assert [example.id.split("/")[-1] for example in load(tmp_path).val] == ["0", "0"]
    assert [example.question for example in load(tmp_path).val] == ["Where? red sign", "Where? blue sign"]


def test_a_text_is_not_a_list_of_expressions(tmp_path):
    write_parquet(tmp_path, ["red sign", "blue sign"])
    with pytest.raises(UserError, match="none of its 2 rows is usable"):
        load(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, "7", '"x"', "null", "{}", '{"image": "train2014/a.jpg", "problem": 3, "solution": [1, 2, 3, 4]}']
    + [
        json.dumps({"problem": "p", "solution": [1, 2, 3, 4], "image": image})
        for image in (3, None, [], {}, "\ud800", "\0", "a" * 5000)
    ]
    + [json.dumps({"problem": "p", "solution": box}) for box in ([1, 2, 10**400, 4], "x", {}, [1, 2], ["1"] * 4)],
    ids=lambda line: line[:30],
)
def test_a_mistyped_line_is_skipped(files, tmp_path, line):
    good = (files / "refcoco_train.jsonl").read_text().splitlines()[0]
    (tmp_path / "a_train.jsonl").write_text(f"{line}\n{good}\n")
    train = load(files, train=str(tmp_path / "a_train.jsonl"), images=str(files)).train
    assert [train[i].id for i in range(len(train))] == ["a_train/1"]
