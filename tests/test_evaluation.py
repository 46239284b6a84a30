from dataclasses import replace

import pytest
from conftest import ANSWER, call, examples, make_rollout

from loupe import evaluation
from loupe.data.datamodule import LoupeDataModule
from loupe.data.signs import Signs
from loupe.errors import UserError
from loupe.evaluation import Condition, Shuffled, conditions, gain_and_harm, question_scores, questions, report, table
from loupe.records import OK, Example, Group, ToolEvent, Trajectory
from loupe.rewards.composite import CompositeReward
from loupe.rewards.terms import hard
from loupe.scripted import ScriptedRollout
from loupe.tools.zoom import NoTool

REWARD = CompositeReward({"hard": hard}, {"hard": 1.0}, shaping=[])


def group(name, answers, subset="small", calls=0, references=("7",) * 3):
    trajectories = [
        Trajectory(i, turns=[f"<answer>{a}</answer>"], events=[ToolEvent(OK, box=(0, 0, 4, 4))] * calls)
        for i, a in enumerate(answers)
    ]
    return Group(Example(name, b"", "?", references, subset=subset, target_boxes=((0, 0, 4, 4),)), None, trajectories)


def test_gain_and_harm_by_hand():
    scores = {
        "no_tool": {"a": 0.0, "b": 1.0, "c": 1 / 3, "d": 2 / 3},
        "greedy": {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0},
    }
    found = gain_and_harm(scores, 50)
    assert found["tool_gain"].mean == 0.5  # a and c: 1/3 is not right
    assert found["tool_harm"].mean == 0.25  # b


def test_the_report_by_hand():
    answers = {
        "greedy": [group("a", "7", calls=1), group("b", "3", subset="large")],
        "sampled": [group("a", "7737", calls=1), group("b", "7333", subset="large")],
        "no_tool": [group("a", "3"), group("b", "7", subset="large")],
        "shuffled": [group("a", "3", calls=1), group("b", "3", subset="large")],
    }
    figures = report(answers, resamples=20)
    parts = figures["parts"]
    assert list(parts) == ["all", "large", "small"]
    assert parts["all"]["score/greedy"]["mean"] == 0.5
    assert parts["small"]["score/sampled"]["mean"] == 0.75
    assert parts["small"]["score/shuffled"]["mean"] == 0
    assert (parts["small"]["tool_gain"]["mean"], parts["small"]["tool_harm"]["mean"]) == (1, 0)
    assert (parts["large"]["tool_gain"]["mean"], parts["large"]["tool_harm"]["mean"]) == (0, 1)
    assert (parts["small"]["zoom_rate/greedy"], parts["large"]["zoom_rate/greedy"]) == (1, 0)
    assert figures["types"]["all"]["tool_success"] == {"share": 0.5, "score": 0.75}
    assert figures["types"]["all"]["no_tool"] == {"share": 0.5, "score": 0.25}
    assert figures["types"]["all"]["tool_fail"] == {"share": 0, "score": None}
    lines = table(figures).splitlines()
    assert lines[0].split() == ["all", "(n=2)", "large", "(n=1)", "small", "(n=1)"]
    assert any(line.startswith("tool_gain") and "1.000 [1.000, 1.000]" in line for line in lines)
    assert lines[-1].split() == ["tool_fail:", "share,", "score", *["0.000,", "-"] * 3]


def test_samples_of_a_question_are_averaged_before_anything_else():
    assert question_scores([group("a", "73")]) == {"a": 0.5}


def test_nothing_readable():
    with pytest.raises(UserError, match="none of the questions could be read"):
        report({"greedy": []}, 10)


def test_shuffled_cuts_from_another_picture(shared_policy):
    signs = Signs("test", 0, 5)
    shuffled = Shuffled(signs)
    assert len(shuffled) == 5
    for index in range(5):
        one, other = signs[index], shuffled[index].zoom_image
        assert shuffled[index] == replace(one, zoom_image=other)
        assert other != one.image
    assert {shuffled[i].zoom_image.key for i in range(5)} == {signs[i].image.key for i in range(5)}
    with pytest.raises(IndexError):
        shuffled[5]
    rollout = make_rollout(shared_policy, ScriptedRollout, script=[[call("[20, 40]"), ANSWER]])
    (right,), _ = rollout([signs[0]], 1, step=0)
    (wrong,), _ = rollout([shuffled[0]], 1, step=0)
    partner = signs[2].image.render()
    assert right.trajectories[0].ids == wrong.trajectories[0].ids
    assert right.prompt.images[0].pixels.equal(wrong.prompt.images[0].pixels)  # the overview is still its own
    box = wrong.trajectories[0].events[0].box
    shown = rollout.dialogue.policy.patches(partner.crop(box).resize((112, 112), 3, reducing_gap=3.0))
    assert wrong.trajectories[0].images[0].pixels.equal(shown.pixels)


def test_conditions(shared_policy):
    with_tool, without = make_rollout(shared_policy), make_rollout(shared_policy, tool=NoTool())
    asked = conditions(with_tool, without, Signs("test", 0, 2), samples=3)
    assert [(c.name, c.greedy, c.samples) for c in asked] == [
        ("greedy", True, 1),
        ("sampled", False, 3),
        ("no_tool", True, 1),
        ("shuffled", True, 1),
    ]
    assert asked[2].rollout is without
    assert [c.name for c in conditions(without, without, Signs("test", 0, 2), samples=0)] == ["greedy"]
    alone = conditions(with_tool, without, Signs("test", 0, 1), samples=0)
    assert [c.name for c in alone] == ["greedy", "no_tool"]  # there is no other picture


def test_questions():
    data = LoupeDataModule(None, Signs("val", 0, 3), Signs("test", 0, 5), 1, 1, 0)
    assert [len(questions(data, split, n)) for split, n in [("val", None), ("test", 2), ("test", 9)]] == [3, 2, 5]
    with pytest.raises(UserError, match="this data set has none; it has val, test"):
        questions(data, "train", None)


def test_answers_are_scored_light_and_batched_and_broken_rows_are_told(shared_policy):
    rows = [*examples(3), Example("broken", b"none", "?", ("1",))]
    rollout = make_rollout(shared_policy, max_new_tokens=3)
    done = []
    groups, skipped = Condition("greedy", rollout, rows).answers(2, REWARD, done.append)
    assert [g.example.id for g in groups] == [e.id for e in rows[:3]]
    assert all(g.prompt is None and g.trajectories[0].terms == {"hard": 0.0} for g in groups)
    assert done == [2, 2]
    assert len(skipped) == 1 and skipped[0].startswith("broken:")
    again, _ = Condition("greedy", rollout, rows).answers(4, REWARD, done.append)
    assert [g.trajectories[0].ids for g in again] == [g.trajectories[0].ids for g in groups]


def test_right_is_two_of_three():
    assert 1 / 3 < evaluation.RIGHT <= 2 / 3
