"""Small data sets in exactly the published formats, made of rendered signs.

    python tests/published.py some/folder

writes textvqa/, textvqa_json/, vstar/, vstar_author/, hrbench/, hrbench_tsv/ and refcoco/ there for trying out the
commands.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import datasets

from loupe.data.drawing import COLORS
from loupe.data.scenes import SignScene
from loupe.data.signs import annotate

FEATURES = datasets.Features(
    {
        "image_id": datasets.Value("string"),
        "question_id": datasets.Value("int32"),
        "question": datasets.Value("string"),
        "question_tokens": datasets.Sequence(datasets.Value("string")),
        "image": datasets.Image(),
        "image_width": datasets.Value("int32"),
        "image_height": datasets.Value("int32"),
        "flickr_original_url": datasets.Value("string"),
        "flickr_300k_url": datasets.Value("string"),
        "answers": datasets.Sequence(datasets.Value("string")),
        "image_classes": datasets.Sequence(datasets.Value("string")),
        "set_name": datasets.Value("string"),
        "ocr_tokens": datasets.Sequence(datasets.Value("string")),
    }
)
PICTURES = {"train": 8, "validation": 4}


def jpeg(scene: SignScene) -> bytes:
    file = io.BytesIO()
    scene.render().save(file, "JPEG", quality=90)
    return file.getvalue()


def textvqa_rows(split: str) -> list[dict]:
    """Two questions about each picture."""
    rows = []
    for number in range(PICTURES[split]):
        scene = SignScene(f"textvqa {split}", 0, number)
        for sign in scene.signs[:2]:
            row = {
                "image_id": f"{split}{number:04x}",
                "question_id": len(rows) + 100,
                "question": f"What number is on the {sign.color} sign?",
                "answers": list(annotate(sign.text, scene.rng(sign.color))),
                "image_width": 1600,
                "image_height": 1200,
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "image_classes": ["Traffic sign"],
                "set_name": split,
                "ocr_tokens": [],
            }
            rows.append(row | {"question_tokens": row["question"].rstrip("?").split(), "scene": scene})
    return rows


def textvqa_parquet(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for split in PICTURES:
        rows = [
            {key: value for key, value in row.items() if key != "scene"}
            | {"image": {"bytes": jpeg(row["scene"]), "path": None}}
            for row in textvqa_rows(split)
        ]
        half = len(rows) // 2
        for shard, part in enumerate((rows[:half], rows[half:])):
            table = datasets.Dataset.from_list(part, features=FEATURES)
            table.to_parquet(folder / "data" / f"{split}-{shard:05}-of-00002-0123456789abcdef.parquet")
    return folder


def textvqa_json(folder: Path) -> Path:
    (folder / "train_images").mkdir(parents=True)
    for split, short in (("train", "train"), ("validation", "val")):
        records = []
        for row in textvqa_rows(split):
            (folder / "train_images" / f"{row['image_id']}.jpg").write_bytes(jpeg(row.pop("scene")))
            records.append(row | {"set_name": short})
        about = {"dataset_type": short, "dataset_name": "textvqa", "dataset_version": "0.5.1"}
        (folder / f"TextVQA_0.5.1_{short}.json").write_text(json.dumps(about | {"data": records}))
    return folder


def vstar_rows(n: int = 3) -> list[dict]:
    """Questions about the color of a sign and about the relative position of two signs."""
    rows = []
    for number in range(n):
        scene = SignScene("vstar", 0, number)
        one, other = scene.signs[:2]
        wrong = [color for color in COLORS if color not in (one.color, other.color)][:3]
        sides = ["left", "right"] if one.box[0] < other.box[0] else ["right", "left"]
        texts = [f"The {one.color} sign is on the {side} side of the {other.color} sign." for side in sides]
        attribute = (f"What is the color of the sign {one.text}?", [one.color, *wrong], [one])
        relation = (
            f"Is the {one.color} sign on the left or right side of the {other.color} sign?",
            texts,
            [one, other],
        )
        for category, (question, options, signs) in zip(
            ("direct_attributes", "relative_position"), (attribute, relation), strict=True
        ):
            boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (sign.box for sign in signs)]
            names = [f"{sign.color} sign" for sign in signs]
            row = {"question": question, "options": options, "target_object": names, "bbox": boxes}
            rows.append(row | {"category": category, "name": f"sa_{number}", "scene": scene})
    return rows


def vstar_author(folder: Path) -> Path:
    for row in vstar_rows():
        file = folder / row["category"] / row["name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".jpg").write_bytes(jpeg(row["scene"]))
        fields = {key: row[key] for key in ("target_object", "bbox", "question", "options")}
        file.with_suffix(".json").write_text(json.dumps(fields))
    return folder


def vstar_jsonl(folder: Path) -> Path:
    """The correct option of row i is letter i, modulo the number of options."""
    lines = []
    for number, row in enumerate(vstar_rows()):
        picture = Path(row["category"]) / f"{row['name']}.jpg"
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture).write_bytes(jpeg(row["scene"]))
        options = row["options"][1:]
        at = number % len(row["options"])
        options.insert(at, row["options"][0])
        lettered = "".join(f"\n({letter}) {option}" for letter, option in zip("ABCD", options, strict=False))
        text = f"{row['question']}{lettered}\nAnswer with the option's letter from the given choices directly."
        line = {"image": str(picture), "text": text, "category": row["category"], "label": "ABCD"[at]}
        lines.append(json.dumps(line | {"question_id": str(number)}))
    (folder / "test_questions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def hrbench_rows(n: int = 4) -> list[dict]:
    """Questions of both categories, each with its options rotated four ways."""
    rows = []
    for number in range(n):
        scene = SignScene("hrbench", 0, number)
        sign = scene.asked
        options = [sign.text, *(str(int(sign.text) % 900 + 100 - i) for i in (1, 2, 3))]
        image = base64.b64encode(jpeg(scene)).decode()
        for cycle in range(4):
            rotated = options[-cycle:] + options[:-cycle] if cycle else options
            rows.append(
                {"index": len(rows), "question": f"What number is on the {sign.color} sign?"}
                | dict(zip("ABCD", rotated, strict=True))
                | {"answer": "ABCD"[rotated.index(sign.text)], "category": ("single", "cross")[number % 2]}
                | {"cycle_category": f"cycle_{cycle}", "image": image}
            )
    return rows


def hrbench_parquet(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("4k", "8k"):
        datasets.Dataset.from_list(hrbench_rows()).to_parquet(folder / f"hr_bench_{name}.parquet")
    return folder


def hrbench_tsv(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = hrbench_rows()
    lines = ["\t".join(rows[0])] + ["\t".join(map(str, row.values())) for row in rows]
    (folder / "hr_bench_4k.tsv").write_text("\n".join(lines) + "\n")
    return folder


def refcoco_rows(split: str, n: int = 3) -> list[dict]:
    """Two expressions for one box in each picture; COCO's boxes are x, y, width, height."""
    rows, first = [], {"val": 1000, "testA": 2000}[split]  # of the pictures' numbers, which differ from training's
    for number in range(n):
        scene = SignScene(f"refcoco {split}", 0, number)
        sign = scene.asked
        x1, y1, x2, y2 = sign.box
        rows.append(
            {
                "question_id": str(500 + number),
                "image": {"bytes": jpeg(scene), "path": None},
                "question": "Please carefully observe the area circled in the image and come up with a caption.",
                "answer": [f"{sign.color} sign", f"the sign that is {sign.color}"],
                "segmentation": [float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)],
                "bbox": [float(v) for v in (x1, y1, x2 - x1, y2 - y1)],
                "iscrowd": 0,
                "file_name": f"COCO_train2014_{first + number:012}_0.jpg",
            }
        )
    return rows


def refcoco(folder: Path, n_train: int = 6) -> Path:
    """The hub's parquet for two splits, and VLM-R1's jsonl in both of its formats, with its pictures beside it."""
    (folder / "data").mkdir(parents=True)
    for split in ("val", "testA"):
        table = datasets.Dataset.from_list(refcoco_rows(split))
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001-0123456789abcdef.parquet")
    (folder / "train2014").mkdir()
    ask = "Please provide the bounding box coordinate of the region this sentence describes: "
    entries = []
    for number in range(n_train):
        scene = SignScene("refcoco train", 0, number)
        name = f"train2014/COCO_train2014_{number:012}.jpg"
        (folder / name).write_bytes(jpeg(scene))
        problem, box = f"{ask}{scene.asked.color} sign", [float(v) for v in scene.asked.box]
        turns = [
            {"from": "human", "value": f"<image>{problem}"},
            {"from": "gpt", "value": json.dumps({"bbox_2d": box})},
        ]
        form = {"problem": problem, "solution": box} if number % 2 else {"id": number, "conversations": turns}
        entries.append({"image": name} | form)
    (folder / "refcoco_train.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


WRITERS = {
    "refcoco": refcoco,
    "textvqa": textvqa_parquet,
    "textvqa_json": textvqa_json,
    "vstar": vstar_jsonl,
    "vstar_author": vstar_author,
    "hrbench": hrbench_parquet,
    "hrbench_tsv": hrbench_tsv,
}

if __name__ == "__main__":
    for name, write in WRITERS.items():
        print(write(Path(sys.argv[1]) / name))
