"""The gallery of a page: answer rows as groups of cards, one group per question."""

from collections.abc import Iterable

from loupe.metrics.rows import TERM, Rows

MOST_CHARACTERS = 20_000
"""Of one turn or question; what is cut off is counted."""
VALIDATION = "validation"
"""The place of a question that is asked at every validation."""
OF_GROUP = ("id", "subset", "question", "options")
OF_CARD = ("step", "sample", "type", "stop", "forced", "answer", "score", "reward", "advantage", "calls", "hits")


def gallery(rows: Rows, most: int) -> dict:
    """groups: the questions with their cards, of the first ``most`` rows. left_out: the number of other rows.

    A group holds the answers to one question: those at one training step, those at every validation, and those before
    and after training or under every condition of an evaluation. Links tell them apart: ``step-25/<id>/<sample>``,
    ``val-25/<id>/<sample>``, ``before/<id>/<sample>``, ``greedy/<id>/<sample>``.
    """
    groups: dict[tuple, dict] = {}
    for row in rows[:most]:
        place = _place(row)
        key = ({"train": place, "val": VALIDATION}.get(row.get("split", ""), "held-out"), row["id"])
        if key not in groups:
            groups[key] = _group(row, key[0])
        groups[key]["picture"] = groups[key]["picture"] or row.get("picture")
        groups[key]["size"] = groups[key]["size"] or row.get("size")
        groups[key]["targets"] = groups[key]["targets"] or row.get("targets") or []
        groups[key]["cards"].append(_card(row, place))
    return {"groups": list(groups.values()), "left_out": max(0, len(rows) - most)}


def pointed(found: dict) -> bool:
    """Whether any call in a gallery showed a part of the picture."""
    return any(card["boxes"] for group in found["groups"] for card in group["cards"])


def pictures_of(groups: Iterable[dict]) -> set[str]:
    """The files in ``report/`` that the groups show."""
    return {
        name
        for group in groups
        for name in (group["picture"], *(crop for card in group["cards"] for crop in card["shown"]))
        if name
    }


def _place(row: dict) -> str:
    """The first part of the link to an answer."""
    split = row.get("split")
    at_steps = {"train": "step", "val": "val"}
    return f"{at_steps[split]}-{row['step']}" if split in at_steps else split or row["condition"]


def _group(row: dict, place: str) -> dict:
    asked = {key: row.get(key) for key in OF_GROUP} | {"question": _cut(row["question"])}
    references = [_cut(text) for text in dict.fromkeys(row["references"])]
    return asked | {
        "place": place,
        "step": row.get("step") if row.get("split") == "train" else None,
        "references": references,
        "picture": None,
        "size": None,
        "targets": [],
        "cards": [],
    }


def _card(row: dict, place: str) -> dict:
    """keypoints, boxes: in pixels of the original picture. terms: before weighting."""
    card = {key: row.get(key) for key in OF_CARD}
    return card | {
        "place": place,
        "answer": row["answer"] and _cut(row["answer"]),
        "turns": [_cut(turn) for turn in row["turns"]],
        "told": [_cut(text) for text in row.get("told") or []],
        "keypoints": row.get("keypoints") or [],
        "boxes": row.get("crops") or [],
        "answered_box": row.get("box"),
        "shown": row.get("shown") or [],
        "terms": {key.removeprefix(TERM): row[key] for key in row if key.startswith(TERM) and row[key] is not None},
    }


def _cut(text: str) -> str:
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]}… ({left:,} more characters)"
