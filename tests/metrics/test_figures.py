import pytest

from loupe.errors import UserError
from loupe.metrics.figures import RIGHT, gain_and_harm, paired, question_scores, report, table
from loupe.metrics.intervals import bootstrap

BLANK = {
    "cluster": None,
    "cycle": None,
    "hits": None,
    "score_leave_one_out": None,
    "answered": True,
    "pixels": 784,
    "iou": None,
}


def rows(condition, question, *scores, subset="small", calls=(), **more):
    kind = "tool_success" if "ok" in calls else "tool_fail" if calls else "no_tool"
    given = {
        "condition": condition,
        "id": question,
        "sample": None,
        "subset": subset,
        "type": kind,
        "calls": list(calls),
    } | BLANK
    return [given | {"score": score, "sample": i} | more for i, score in enumerate(scores)]


def test_gain_and_harm_by_hand():
    without, with_tool = {"a": 0.0, "b": 1.0, "c": 1 / 3, "d": 2 / 3}, {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0}
    answers = {
        "no_tool": [row for q, s in without.items() for row in rows("no_tool", q, s)],
        "greedy": [row for q, s in reversed(with_tool.items()) for row in rows("greedy", q, s)],
    }
    found = gain_and_harm(answers, 50)
    assert found["tool_gain"].mean == 0.5  # a and c: 1/3 is not right
    assert found["tool_harm"].mean == 0.25  # b
    assert 1 / 3 < RIGHT <= 2 / 3


ANSWERS = [
    *rows("greedy", "a", 1.0, calls=["ok"], hits=[True]),
    *rows("greedy", "b", 0.0, subset="large", answered=False),
    *rows("sampled", "a", 1.0, 1.0, 0.0, 1.0, calls=["ok"]),
    *rows("sampled", "b", 1.0, 0.0, 0.0, 0.0, subset="large"),
    *rows("no_tool", "a", 0.0),
    *rows("no_tool", "b", 1.0, subset="large"),
    *rows("shuffled", "a", 0.0, calls=["ok", "over_budget"], pixels=3 * 784),
    *rows("shuffled", "b", 0.0, subset="large"),
]


def test_the_report_by_hand():
    figures = report(ANSWERS, resamples=20)
    parts = figures["parts"]
    assert list(parts) == ["all", "large", "small"]
    assert parts["all"]["score/greedy"]["mean"] == 0.5
    assert parts["small"]["score/sampled"]["mean"] == 0.75
    assert parts["small"]["score/shuffled"]["mean"] == 0
    assert (parts["small"]["tool_gain"]["mean"], parts["small"]["tool_harm"]["mean"]) == (1, 0)
    assert (parts["large"]["tool_gain"]["mean"], parts["large"]["tool_harm"]["mean"]) == (0, 1)
    assert (parts["small"]["zoom_rate/greedy"], parts["large"]["zoom_rate/greedy"]) == (1, 0)
    assert (parts["all"]["zoom_hit_rate/greedy"], parts["all"]["zoom_hit_rate/shuffled"]) == (1, None)
    assert (parts["all"]["unanswered/greedy"], parts["all"]["unanswered/sampled"]) == (0.5, 0)
    assert (parts["all"]["failed_call_rate/shuffled"], parts["all"]["pixels/shuffled"]) == (0.5, 2 * 784)
    assert not any("leave_one_out" in key for key in parts["all"])
    assert figures["cycles"]["all"]["greedy"] == {}
    assert figures["types"]["all"]["tool_success"] == {"share": 0.5, "score": 0.75}
    assert figures["types"]["all"]["no_tool"] == {"share": 0.5, "score": 0.25}
    assert figures["types"]["all"]["tool_fail"] == {"share": 0, "score": None}


def test_the_table():
    lines = table(report(ANSWERS, resamples=20)).splitlines()
    assert lines[0].split() == ["all", "(n=2)", "large", "(n=1)", "small", "(n=1)"]
    assert any(line.startswith("tool_gain") and "1.000 [1.000, 1.000]" in line for line in lines)
    assert lines[-1].split() == ["tool_fail/sampled:", "share,", "score", *["0.000,", "-"] * 3]
    assert len({len(line) for line in lines}) == 1


def test_types_are_told_of_the_answers_as_they_are():
    figures = report([*rows("direct", "a", 0.0), *rows("greedy", "a", 1.0, calls=["ok"])], 20)
    assert figures["types_of"] == "greedy" and figures["types"]["all"]["tool_success"]["share"] == 1


def test_two_questions_of_one_name():
    with pytest.raises(UserError, match="two questions are called a; is a data set there twice"):
        report([*rows("greedy", "a", 1.0), *rows("greedy", "a", 0.0)], 20)


def test_both_forms_of_vqa_accuracy():
    both = [*rows("greedy", "a", 1.0, score_leave_one_out=0.9), *rows("greedy", "b", 0.0, score_leave_one_out=0.0)]
    part = report(both, 20)["parts"]["all"]
    assert (part["score/greedy"]["mean"], part["score_leave_one_out/greedy"]["mean"]) == (0.5, 0.45)


def test_rotations_are_averaged_by_cycle_and_drawn_together():
    right = {"p": (1.0, 1.0), "q": (1.0, 0.0), "r": (0.0, 0.0)}
    answers = [
        row
        for question, scores in right.items()
        for cycle, score in enumerate(scores)
        for row in rows("greedy", f"{question}{cycle}", score, subset="FSP", cluster=question, cycle=str(cycle))
    ]
    figures = report(answers, 500)
    assert figures["cycles"]["FSP"]["greedy"] == {"0": pytest.approx(2 / 3), "1": pytest.approx(1 / 3)}
    score = figures["parts"]["all"]["score/greedy"]
    assert (score["mean"], score["n"]) == (0.5, 6)
    three = bootstrap([1.0, 0.5, 0.0], 500)  # questions, not six
    assert (score["low"], score["high"]) == pytest.approx((three.low, three.high))
    lacking = [row for row in answers if row["id"] != "q1"]  # a rotation that could not be read
    mean = report(lacking, 20)["parts"]["all"]["score/greedy"]["mean"]
    assert mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert any(line.startswith("score/greedy/1") and "0.333" in line for line in table(figures).splitlines())


def test_samples_of_a_question_are_averaged_before_anything_else():
    assert question_scores(rows("sampled", "a", 1.0, 0.0)) == {"a": 0.5}


def test_paired_compares_what_both_answer():
    before = [*rows("greedy", "a", 0.0), *rows("greedy", "b", 1.0), *rows("greedy", "x", 1.0)]
    after = [*rows("greedy", "b", 1.0), *rows("greedy", "a", 1.0), *rows("greedy", "y", 1.0)]
    gain = paired(before, after, lambda one, other: other - one, 50)
    assert (gain.mean, gain.n) == (0.5, 2)


def test_nothing_readable():
    with pytest.raises(UserError, match="none of the questions could be read"):
        report([], 10)
