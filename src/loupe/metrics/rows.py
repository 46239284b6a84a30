"""One row per answer: what trajectories.jsonl and answers.parquet hold, and what ``summarize`` counts."""

from loupe.geometry import Box, area, overlap
from loupe.records import Group, Trajectory
from loupe.rewards import terms
from loupe.rewards.boxes import BoxError, answer_iou, read_box
from loupe.rewards.choice import LETTERS, chosen_option

Rows = list[dict]

TERM = "term/"
"""Prefix of the columns that hold the reward terms."""


def answer_rows(groups: list[Group], condition: str, factor: int, merge: int) -> Rows:
    """A row for every trajectory, group by group.

    condition: how the questions were asked. factor, merge: pixels per side, and patches per side, of an image token.
    """
    return [answer_row(t, group, condition, factor, merge) for group in groups for t in group.trajectories]


def answer_row(trajectory: Trajectory, group: Group, condition: str, factor: int, merge: int) -> dict:
    """Everything about one answer but its tokens and pictures.

    chosen: the letter of the option that the answer names. box: the answered box in original pixels, where one is asked
    for; box_error: why the answer is not a valid box. answered: whether there is an answer of the kind asked for.
    score: ``terms.accuracy``; score_leave_one_out: the published form of VQA accuracy, if it is the score and there are
    several references. forced: the tag that was written for the policy. calls: "ok" or the kind of failure; tools: the
    name that each call gives, if readable; told: the text of its result, or why it failed. keypoints, crops: of the
    executed calls that have one, in original pixels; hits: whether each crop shows a target, None where no target is
    known or the crops come from another picture. image_tokens, pixels: of all pictures shown. reward and terms: as
    scored at that step of training.
    """
    example, answer = group.example, trajectory.answer
    option = chosen_option(answer, example.options) if answer and example.options else None
    crops = trajectory.crops
    targets = () if example.zoom_image else example.target_boxes
    tokens = sum(image.tokens(merge) for image in [*group.prompt.images, *trajectory.images])
    several = len(example.references) > 1 and terms.has_vqa_accuracy(example)
    box = read_box(answer, group.prompt.frame) if example.answer_box else None
    is_invalid = isinstance(box, BoxError)
    return {
        "condition": condition,
        "id": example.id,
        "subset": example.subset,
        "cycle": example.cycle,
        "cluster": example.cluster,
        "question": example.question,
        "references": list(example.references),
        "options": list(example.options),
        "sample": trajectory.sample,
        "type": trajectory.type,
        "stop": trajectory.stop,
        "answer": answer,
        "chosen": None if option is None else LETTERS[option],
        "box": None if is_invalid else box,
        "box_error": box if is_invalid else None,
        "iou": answer_iou(trajectory, group) if example.answer_box else None,
        "answered": bool(answer) and not is_invalid and (not example.options or option is not None),
        "score": terms.accuracy(trajectory, group),
        "score_leave_one_out": terms.accuracy_leave_one_out(trajectory, group) if several else None,
        "reward": trajectory.reward,
        "turns": trajectory.turns,
        **_calls(trajectory),
        "keypoints": [event.keypoint for event in trajectory.events if event.keypoint],
        "crops": crops,
        "hits": [any(is_hit(box, target) for target in targets) for box in crops] if targets else None,
        "n_sampled": trajectory.n_sampled,
        "image_tokens": tokens,
        "pixels": tokens * factor**2,
    } | {f"{TERM}{name}": value for name, value in trajectory.terms.items()}


def _calls(trajectory: Trajectory) -> dict:
    events = trajectory.events
    return {
        "forced": trajectory.forced,
        "calls": [event.status for event in events],
        "tools": [event.tool for event in events],
        "told": [event.text for event in events],
    }


def is_hit(box: Box, target: Box) -> bool:
    """Whether the crop and the target share at least half the area of the smaller of the two."""
    return overlap(box, target) >= 0.5 * min(area(box), area(target)) > 0
