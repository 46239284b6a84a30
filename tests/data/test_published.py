"""TextVQA, V*Bench and HR-Bench in every published format, generated small (published.py) and written by hand."""

import base64
import io
import json
import logging
from pathlib import Path

import datasets
import published
import pytest
from conftest import compose_config, splits_of
from PIL import Image

from loupe import hub
from loupe.data import hrbench, tables, textvqa
from loupe.errors import BadExample, UserError
from loupe.pictures import open_picture
from loupe.rewards.choice import chosen_option


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    return {name: write(root / name) for name, write in published.WRITERS.items()}


def rows_of(split):
    return [split[i] for i in range(len(split))]


def png(size=(40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


# TextVQA


@pytest.mark.parametrize("form", ["textvqa", "textvqa_json"])
def test_textvqa(folders, form):
    module = splits_of("textvqa", f"data.path={folders[form]}", "data.n_val=3", "data.n_test=5")
    train, val, test = rows_of(module.train), rows_of(module.val), rows_of(module.test)
    rows = {f"textvqa/{row['question_id']}": row for row in published.textvqa_rows("train")}
    assert (len(train), len(val), len(test)) == (12, 4, 5)
    assert {e.id for e in train} | {e.id for e in val} == set(rows)
    for example in train:
        row = rows[example.id]
        assert example.question == row["question"] and list(example.references) == row["answers"]
        assert isinstance(example.image, bytes if form == "textvqa" else Path)
    shown, drawn = open_picture(train[0].image), rows[train[0].id]["scene"].render()
    assert shown.size == drawn.size
    assert max(abs(a - b) for a, b in zip(shown.getpixel((50, 50)), drawn.getpixel((50, 50)), strict=True)) < 12


def test_questions_about_one_picture_are_held_out_together(folders):
    module = splits_of("textvqa", f"data.path={folders['textvqa']}", "data.n_val=5")
    pictures = {f"textvqa/{row['question_id']}": row["image_id"] for row in published.textvqa_rows("train")}
    train, val = ({pictures[e.id] for e in rows_of(split)} for split in (module.train, module.val))
    assert len(val) == 3 and not train & val
    other = splits_of("textvqa", f"data.path={folders['textvqa']}", "data.n_val=5", "data.heldout_seed=1")
    assert {e.id for e in rows_of(other.val)} != {e.id for e in rows_of(module.val)}


def test_all_of_the_test_questions_or_some(folders):
    whole = rows_of(splits_of("textvqa", f"data.path={folders['textvqa']}", "data.n_val=2", "data.n_test=null").test)
    some = rows_of(splits_of("textvqa", f"data.path={folders['textvqa']}", "data.n_val=2", "data.n_test=3").test)
    assert [e.id for e in whole] == [f"textvqa/{100 + i}" for i in range(8)]
    assert len(some) == 3 and {e.id for e in some} < {e.id for e in whole}


def test_unusable_rows_are_named(tmp_path, caplog):
    rows = [
        {"image_id": "a", "question_id": 1, "question": "what is it?", "answers": ["x"] * 10, "image": None},
        {"image_id": "b", "question_id": 2, "question": "  ", "answers": ["x"] * 10, "image": png()},
        {"image_id": "c", "question_id": 3, "question": "what is it?", "answers": [], "image": png()},
        {"image_id": "d", "question_id": 4, "question": "what is it?", "answers": ["x"] * 10, "image": b"no picture"},
        {"image_id": "e", "question_id": 5, "question": "what is it?", "answers": ["x"] * 10, "image": png()},
    ]
    for row in rows:
        row["image"] = row["image"] and {"bytes": row["image"], "path": None}
    features = datasets.Features({key: published.FEATURES[key] for key in rows[0]})
    for split in ("train", "validation"):
        datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    with caplog.at_level(logging.WARNING):
        module = splits_of("textvqa", f"data.path={tmp_path}", "data.n_val=1", "data.n_test=null")
    assert "TextVQA train: skipped rows without a usable question: 2\n" in caplog.text
    assert "TextVQA train: skipped rows without a usable answers: 3\n" in caplog.text
    test = rows_of(module.test)
    assert [e.id for e in test] == ["textvqa/1", "textvqa/4", "textvqa/5"]
    for example in test[:2]:  # noticed when the picture is opened
        with pytest.raises(BadExample):
            open_picture(example.image)
    assert open_picture(test[2].image).size == (40, 30)


def test_a_hand_written_official_json(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0054c91397f2fe05.jpg").write_bytes(png())
    record = (
        '{"question_id": 0, "image_id": "0054c91397f2fe05", "question": "what is the brand of phone?", "answers": '
        '["nokia", "nokia", "nokia", "nokia", "toshiba", "nokia", "nokia", "nokia", "nokia", "nokia"], '
        '"image_width": 1024, "image_height": 730, "image_classes": ["Belt", "Headphones"], "set_name": "train"}'
    )
    other = record.replace('"question_id": 0', '"question_id": 1').replace("0054c91397f2fe05", "missing")
    for name in ("train", "val"):
        (tmp_path / f"TextVQA_0.5.1_{name}.json").write_text(f'{{"dataset_type": "x", "data": [{record}, {other}]}}')
    with pytest.raises(UserError, match=r"data\.images=\S*train_images: no such folder; give the one that holds"):
        splits_of("textvqa", f"data.path={tmp_path}")
    module = splits_of("textvqa", f"data.path={tmp_path}", f"data.images={tmp_path / 'pictures'}", "data.n_val=1")
    example = rows_of(module.test)[0]
    assert example.references.count("nokia") == 9
    assert open_picture(example.image).size == (40, 30)
    with pytest.raises(BadExample, match=r"missing\.jpg: No such file"):
        open_picture(rows_of(module.test)[1].image)


def test_other_tables_than_textvqa_are_refused(tmp_path):
    for split in ("train", "validation"):
        datasets.Dataset.from_list([{"question": "?", "label": 1}]).to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(UserError, match="no column image_id, question_id, image, answers, only question, label;"):
        splits_of("textvqa", f"data.path={tmp_path}")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(UserError, match=r"cannot read \S*train\.parquet as parquet .*copy it again"):
        splits_of("textvqa", f"data.path={tmp_path}")
    with pytest.raises(UserError, match=r"no such folder; give data\.path=<folder with the published files>"):
        splits_of("textvqa", f"data.path={tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no file train-\*\.parquet or train\.parquet or TextVQA_\*_train\.json"):
        splits_of("textvqa", f"data.path={tmp_path / 'empty'}")


@pytest.mark.parametrize("content", ["{", '{"data": 3}', "[]"])
def test_a_broken_official_json(tmp_path, content):
    (tmp_path / "train_images").mkdir()
    (tmp_path / "TextVQA_0.5.1_train.json").write_text(content)
    with pytest.raises(UserError, match=r"TextVQA_0\.5\.1_train\.json: not in TextVQA's format"):
        splits_of("textvqa", f"data.path={tmp_path}")


def test_something_is_left_to_train_on(folders):
    with pytest.raises(UserError, match=r"data\.n_val=16: leaves nothing to train on"):
        splits_of("textvqa", f"data.path={folders['textvqa']}", "data.n_val=16")


def test_textvqa_chooses_model_and_resolution_and_the_command_line_wins():
    chosen = compose_config("data=textvqa")
    assert chosen.resolution == 1024 and "Qwen2.5-VL-3B" in chosen.model.path and chosen.model.lora
    assert compose_config("data=textvqa", "model=tiny", "resolution=112").resolution == 112
    assert compose_config("data=textvqa", "model=tiny").model.lora is None


# V*Bench

LINE = '{{"image": "x.jpg", "text": "?\\n(A) a\\n({}) c", "category": "x", "label": "{}", "question_id": 1}}'
GOOD_LINE = LINE.format("B", "B")
BAD_LINES = [
    *("{", "{}", "7", "null", "[" * 100_000, LINE.format("C", "A"), LINE.format("B", "D")),
    *(GOOD_LINE.replace('"x"', value) for value in ("3", "null", "[1]", '""', '"\\ud800"')),
    *(GOOD_LINE.replace('"x.jpg"', value) for value in ("3", "null", "[1]", '""')),
    *(GOOD_LINE.replace('"B",', f"{value},") for value in ("2", "null", "[1]")),
]
BAD_LINES += [GOOD_LINE.replace("(A)", "\\n" * 50_000 + "(X)" + " " * 50_000 + "y")]  # read in linear time
BAD_OF_AUTHOR = [
    *({"options": value} for value in ([], "ab", None, [1, 2], ["a", None], {"a": 1}, ["a"] * 27)),
    *({"question": value} for value in (None, 7, " ", ["?"])),
    *({"bbox": value} for value in (None, 3, [[1, 2, 3]], [["1", "2", "3", "4"]], [[1, 2, 3, float("nan")]])),
]


def test_vstar_as_published(folders):
    module = splits_of("vstar", f"data.path={folders['vstar']}")
    assert module.train is None and module.val is None
    examples = rows_of(module.test)
    assert [e.subset for e in examples] == ["direct_attributes", "relative_position"] * 3
    for number, (example, row) in enumerate(zip(examples, published.vstar_rows(), strict=True)):
        correct = number % len(row["options"])
        assert example.references == ("ABCD"[correct],) and example.options[correct] == row["options"][0]
        assert example.question.endswith("directly.") and example.target_boxes == ()
        assert open_picture(example.image).size == (1600, 1200)


def test_vstar_in_its_authors_format(folders):
    examples = rows_of(splits_of("vstar", f"data.path={folders['vstar_author']}").test)
    assert examples == rows_of(splits_of("vstar", f"data.path={folders['vstar_author']}").test)
    rows = sorted(published.vstar_rows(), key=lambda row: (row["category"], row["name"]))
    for example, row in zip(examples, rows, strict=True):
        assert example.options[chosen_option(example.references[0], example.options)] == row["options"][0]
        assert sorted(example.options) == sorted(row["options"])
        for letter, option in zip("ABCD", example.options, strict=False):
            assert f"({letter}) {option}" in example.question
        boxes = [(x, y, x + w, y + h) for x, y, w, h in row["bbox"]]
        assert list(example.target_boxes) == boxes
    assert len({example.references for example in examples}) > 1  # the correct one is not always A


def test_vstar_takes_the_boxes_from_the_authors_files_if_there_are_both(folders, tmp_path):
    published.vstar_jsonl(published.vstar_author(tmp_path))
    assert all(example.target_boxes for example in rows_of(splits_of("vstar", f"data.path={tmp_path}").test))


def test_a_hand_written_line_of_vstar(tmp_path):
    (tmp_path / "test_questions.jsonl").write_text(
        '{"image": "direct_attributes/sa_4690.jpg", "text": "What is the material of the glove?\\n(A) rubber\\n(B) '
        "cotton\\n(C) kevlar\\n(D) leather\\nAnswer with the option's letter from the given choices directly.\", "
        '"category": "direct_attributes", "label": "A", "question_id": "0"}\n'
    )
    (example,) = rows_of(splits_of("vstar", f"data.path={tmp_path}").test)
    assert example.options == ("rubber", "cotton", "kevlar", "leather")
    assert example.id == "vstar/0" and example.image == tmp_path / "direct_attributes" / "sa_4690.jpg"


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:60])
def test_a_bad_line_of_vstar_is_skipped_and_named(tmp_path, caplog, line):
    file = tmp_path / "test_questions.jsonl"
    file.write_text(f"{GOOD_LINE}\n\n{line}\n", errors="surrogatepass")
    assert [example.id for example in rows_of(splits_of("vstar", f"data.path={tmp_path}").test)] == ["vstar/1"]
    assert f"V*Bench: skipped a question: {file}:3: not in V*Bench's format (" in caplog.text
    file.write_text(line)
    with pytest.raises(UserError, match=r"none of its 1 questions is usable; see above"):
        splits_of("vstar", f"data.path={tmp_path}")


def test_a_question_of_vstar_counts_once(tmp_path, caplog):
    (tmp_path / "test_questions.jsonl").write_text(f"{GOOD_LINE}\n{GOOD_LINE}\n")
    assert len(splits_of("vstar", f"data.path={tmp_path}").test) == 1
    assert "V*Bench: skipped a question: another one before it is vstar/1, too\n" in caplog.text


@pytest.mark.parametrize("change", BAD_OF_AUTHOR, ids=ascii)
def test_a_bad_json_of_the_author_is_skipped_and_named(tmp_path, caplog, change):
    (tmp_path / "direct_attributes").mkdir()
    good = {"question": "?", "options": ["a", "b"], "bbox": [[1, 2, 3, 4]], "target_object": ["x"]}
    for name, row in [("sa_1", good | change), ("sa_2", good)]:
        (tmp_path / "direct_attributes" / f"{name}.json").write_text(json.dumps(row))
    examples = rows_of(splits_of("vstar", f"data.path={tmp_path}").test)
    assert [example.id for example in examples] == ["vstar/direct_attributes/sa_2"]
    assert "sa_1.json: not in the format of V*Bench's author" in caplog.text


def test_a_folder_without_questions_is_refused(tmp_path):
    (tmp_path / "direct_attributes").mkdir()
    with pytest.raises(UserError, match=r"neither test_questions\.jsonl nor"):
        splits_of("vstar", f"data.path={tmp_path / 'direct_attributes'}")


# HR-Bench


@pytest.mark.parametrize("form", ["hrbench", "hrbench_tsv"])
def test_hrbench(folders, form):
    examples = rows_of(splits_of("hrbench_4k", f"data.path={folders[form]}").test)
    for example, row in zip(examples, published.hrbench_rows(), strict=True):
        assert example.options == tuple(row[letter] for letter in "ABCD")
        assert example.references == (row["answer"],)
        assert (example.subset, example.cycle) == (
            {"single": "FSP", "cross": "FCP"}[row["category"]],
            row["cycle_category"],
        )
        assert open_picture(example.image).size == (1600, 1200)
        options = "".join(f"{letter}. {row[letter]}\n" for letter in "ABCD")
        request = "Please select the correct answer from the options above."
        assert example.question == f"Question: {row['question']}\nOptions:\n{options}{request}"
    clusters = [example.cluster for example in examples]
    assert [clusters[i] for i in range(0, 16, 4) for _ in range(4)] == clusters and len(set(clusters)) == 4
    assert len({example.id for example in examples}) == 16


def test_a_row_of_hrbench_may_name_its_picture_by_path():
    """As a table does that was written with pictures but without embedding them."""
    row = published.hrbench_rows()[0]
    one, other = (hrbench.example(row | {"image": {"bytes": None, "path": name}}, "4k") for name in ("1.jpg", "2.jpg"))
    assert one.image == Path("1.jpg")
    assert one.cluster != other.cluster


def test_hrbench_may_be_asked_as_vstar_is(folders):
    given = ["hrbench_4k", f"data.path={folders['hrbench']}"]
    example, row = splits_of(*given, "data.prompt=letters").test[0], published.hrbench_rows()[0]
    assert example.question.startswith(f"{row['question']}\n(A) {row['A']}\n(B) ")
    with pytest.raises(UserError, match=r"data\.prompt=mine: must be one of official, letters"):
        splits_of(*given, "data.prompt=mine")


def test_a_rotation_of_hrbench_counts_once(tmp_path, caplog):
    rows = published.hrbench_rows(1)
    datasets.Dataset.from_list([*rows, rows[2]]).to_parquet(tmp_path / "hr_bench_4k.parquet")
    assert len(splits_of("hrbench_4k", f"data.path={tmp_path}").test) == 4
    assert "skipped rows that repeat the index and cycle_category of an earlier one: 5\n" in caplog.text


def test_hrbench_8k_is_another_file(folders):
    assert len(splits_of("hrbench_8k", f"data.path={folders['hrbench']}", "data.n_test=5").test) == 5
    with pytest.raises(UserError, match=r"no file \*8k\*\.parquet or \*8k\*\.tsv"):
        splits_of("hrbench_8k", f"data.path={folders['hrbench_tsv']}")


def test_hand_written_rows_of_hrbench(tmp_path, caplog):
    head = "index\tquestion\tanswer\tcategory\tA\tB\tC\tD\tcycle_category\timage"
    image = base64.b64encode(png()).decode()
    rows = [
        f'0\tWhat is written on the "door"?\tB\tsingle\tNone\tnull\t07\t8\t0\t{image}',
        f"1\tWhat color is it?\t\tsingle\tred\tblue\tpink\tgray\t0\t{image}",
        "2\tWhat color is it?\tA\tcross\tred\tblue\tpink\tgray\t0\tnot base64!",
    ]
    (tmp_path / "hr_bench_4k.tsv").write_text("\n".join([head, *rows]) + "\n")
    with caplog.at_level(logging.WARNING):
        first, second = rows_of(splits_of("hrbench_4k", f"data.path={tmp_path}").test)
    assert "hrbench_4k: skipped rows without a usable answer: 2\n" in caplog.text
    assert first.options == ("None", "null", "07", "8")  # texts, not missing values or numbers
    assert open_picture(first.image).size == (40, 30)
    with pytest.raises(BadExample):
        open_picture(second.image)


# The hub


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("textvqa", ["lmms-lab/textvqa", "lmms-lab-encoder/textvqa"]),
        ("vstar", ["craigwu/vstar_bench"]),
        ("hrbench_4k", ["DreamMr/HR-Bench"]),
        ("refcoco", ["lmms-lab/RefCOCO", "lmms-lab-encoder/RefCOCO"]),
    ],
)
def test_without_the_hub_one_line_names_what_was_tried_and_the_fix(monkeypatch, tmp_path, name, ids):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for overrides, tried in [([], ids), (["data.hub=some/copy"], ["some/copy"])]:
        listed = "; ".join(f"{known}: [^;]+" for known in tried)
        with pytest.raises(UserError, match=rf"data: cannot be loaded from the hub \({listed}\); give data\.path="):
            splits_of(name, *overrides)
    with pytest.raises(UserError, match=r"data\.hub=copy: must be <owner/name>, such as "):
        splits_of(name, "data.hub=copy")


def test_a_data_set_that_has_moved_is_found(monkeypatch):
    def load(name):
        if name.startswith("lmms-lab/"):
            raise datasets.exceptions.DatasetNotFoundError(f"{name} does not exist")
        return name

    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert tables.from_hub(None, textvqa.HUBS, load) == "lmms-lab-encoder/textvqa"
    assert tables.from_hub("my/copy", textvqa.HUBS, load) == "my/copy"


def test_pictures_in_every_cell():
    assert (
        tables.stored_picture(None)
        == tables.stored_picture({"bytes": None, "path": None})
        == tables.stored_picture("%")
        == tables.stored_picture("ä")
        == b""
    )
    assert tables.stored_picture({"bytes": b"x", "path": "y.jpg"}) == tables.stored_picture(b"x") == b"x"
    assert tables.stored_picture({"bytes": None, "path": "y.jpg"}) == Path("y.jpg")
    assert tables.stored_picture(base64.b64encode(b"xyz").decode()) == b"xyz"


def test_rows_outside_the_table(folders):
    test = splits_of("vstar", f"data.path={folders['vstar']}", "data.n_test=2").test
    assert len(test) == 2
    with pytest.raises(IndexError):
        splits_of("hrbench_4k", f"data.path={folders['hrbench']}").test[16]
