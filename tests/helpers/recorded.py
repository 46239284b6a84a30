"""The folders of a run and of an evaluation as a page finds them, written by hand."""

import json
import re
from pathlib import Path

from PIL import Image

HOSTILE = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'></template>{{ 7 * 7 }}"


def lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answer(name: str, **columns) -> dict:
    """The row of a direct answer, correct unless ``columns`` say otherwise."""
    return {
        "condition": "greedy",
        "id": name,
        "subset": "small",
        "question": f"What is on sign {name}?",
        "references": ["7"] * 10,
        "options": [],
        "sample": 0,
        "type": "no_tool",
        "stop": "answered",
        "answer": "7",
        "score": 1.0,
        "reward": 1.1,
        "turns": ["<think>Easy.</think>\n<answer>7</answer>"],
        "calls": [],
        "hits": None,
        "term/accuracy": 1.0,
    } | columns


def zoomed(name: str, **columns) -> dict:
    """The row of an answer after a zoom, with its pictures."""
    turns = ["<think>Small.</think>\n<tool>\nname: zoom\n</tool>", "<answer>8</answer>"]
    shown = {"type": "tool_success", "turns": turns, "calls": ["ok"], "told": [""], "hits": [True], "answer": "8"}
    shown |= {"keypoints": [[40, 30]], "crops": [[20, 10, 60, 50]], "score": 0.0, "reward": 0.1, "term/accuracy": 0.0}
    return answer(name, **(shown | {"picture": "a.png", "size": [80, 60], "shown": ["b.png"], "targets": []} | columns))


def make_run(folder: Path, hostile: str = "x", questions: int = 12) -> Path:
    """A run of 26 steps: questions before training, one of step 1 and of step 26 with two trajectories each, and one of
    the validations at steps 0 and 25.
    """
    (folder / "report").mkdir(parents=True)
    Image.new("RGB", (80, 60), "green").save(folder / "report" / "a.png")
    Image.new("RGB", (28, 28), "red").save(folder / "report" / "b.png")
    steps = [{"step": 0, "val/score/all": 0.25, "val/score/small": 0.25}]
    for step in range(1, 27):
        steps.append({"step": step, "score/all": step / 26, "reward/mean": 0.5, "grad_norm": 1.0, "entropy": 0.1})
        for kind in ("no_tool", "tool_success", "tool_fail"):
            hist = {"counts": [step, 1], "edges": [-3, 0, 3]}
            values = {"share": 0.3, "mean": 0.1, "q05": -1, "q25": -0.5, "q75": 0.5, "q95": 1, "hist": hist}
            steps[-1] |= {f"advantage/all/{kind}/{key}": value for key, value in values.items()}
    lines(folder / "metrics.jsonl", steps)
    rows = [zoomed("v", step=0, split="val", advantage=0.0), answer("v", step=25, split="val", advantage=0.0)]
    rows += [answer(str(i), step=0, split="before", advantage=0.0) for i in range(questions)]
    for step in (1, 26):
        told = {"step": step, "split": "train", "question": hostile, "subset": hostile}
        rows.append(answer("q/1", **told, advantage=0.9, answer=hostile, turns=[f"<answer>{hostile}</answer>"]))
        rows.append(zoomed("q/1", **told, sample=1, advantage=-0.9))
    lines(folder / "trajectories.jsonl", rows)
    return folder


def data_of(page: Path) -> dict:
    """What the scripts of a page are given."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)
