"""The official json and the parquet with something missing, of another type, or not encodable."""

import json
import logging

import datasets
import published
import pytest
from conftest import splits_of
from PIL import Image

from loupe.errors import UserError
from loupe.pictures import open_picture

GOOD = {"image_id": "a", "question_id": 1, "question": "what is it?", "answers": ["x"] * 10}
LONE_SURROGATE = "\ud800"
BAD = [
    *({"answers": value} for value in ("123", 7, None, [], ["x", 3], ["x", None], {"x": 1}, [["x"]], [LONE_SURROGATE])),
    *({"question": value} for value in (3, 0.5, None, "", "  ", ["what?"], {}, f"what is {LONE_SURROGATE}?", True)),
    *({"question_id": value} for value in (None, 0.5, [1], {}, LONE_SURROGATE)),
]


def load(folder, **changes):
    settings = [f"{key}={value}" for key, value in ({"data.n_val": 1, "data.n_test": "null"} | changes).items()]
    return splits_of("textvqa", f"data.path={folder}", *settings)


@pytest.fixture
def write(tmp_path):
    """Writes both splits of the official json, beside a single picture, "a.jpg"."""
    (tmp_path / "train_images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "train_images" / "a.jpg")

    def write(text):
        for split in ("train", "val"):
            (tmp_path / f"TextVQA_0.5.1_{split}.json").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("change", BAD, ids=ascii)
def test_a_mistyped_row_is_skipped_and_named(write, caplog, change):
    entries = [GOOD, GOOD | change, GOOD | {"image_id": "b", "question_id": "10"}]
    with caplog.at_level(logging.WARNING):
        test = load(write(json.dumps({"data": entries}))).test
    assert [test[i].id for i in range(len(test))] == ["textvqa/1", "textvqa/10"]
    assert test[0].references == ("x",) * 10 and open_picture(test[0].image).size == (40, 30)
    assert f"TextVQA validation: skipped rows without a usable {next(iter(change))}: 2\n" in caplog.text


def test_a_question_counts_once(write, caplog):
    entries = [GOOD, GOOD | {"image_id": "b"}, GOOD | {"image_id": "b", "question_id": 2}]
    with caplog.at_level(logging.WARNING):
        assert len(load(write(json.dumps({"data": entries}))).test) == 2
    assert "TextVQA validation: skipped rows that repeat the question_id of an earlier one: 2\n" in caplog.text


@pytest.mark.parametrize("entry", [None, 3, "x", [], {}], ids=repr)
def test_an_entry_that_is_no_row_is_skipped(write, entry):
    others = [GOOD, GOOD | {"image_id": "b", "question_id": 2}]
    assert len(load(write(json.dumps({"data": [entry, *others]}))).test) == 2


@pytest.mark.parametrize("text", ['{"data": 7}', '{"data": null}', "[" * 100_000], ids=["7", "null", "deep"])
def test_another_file_is_refused(write, text):
    folder = write(text)
    with pytest.raises(UserError, match=r"TextVQA_0\.5\.1_train\.json: not in TextVQA's format"):
        load(folder)


def test_a_text_is_not_a_list_of_answers(tmp_path):
    rows = [row | {"answers": "123", "image": {"bytes": b"", "path": None}} for row in published.textvqa_rows("train")]
    for row in rows:
        del row["scene"]
    for split in ("train", "validation"):
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(UserError, match=f"TextVQA train: none of its {len(rows)} rows is usable"):
        load(tmp_path)
