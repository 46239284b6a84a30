import pytest
from answer_rows import rows

from loupe.errors import UserError
from loupe.evaluation.report import report, table
from loupe.metrics.intervals import bootstrap

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
    counted = report(ANSWERS, resamples=20)
    greedy, sampled, _, shuffled = counted["conditions"].values()
    assert list(greedy["score"]) == ["all", "large", "small"]
    assert greedy["score"]["all"]["mean"] == 0.5
    assert sampled["score"]["small"]["mean"] == 0.75
    assert shuffled["score"]["small"]["mean"] == 0
    assert [counted["tool_gain"][part]["mean"] for part in ("small", "large")] == [1, 0]
    assert [counted["tool_harm"][part]["mean"] for part in ("small", "large")] == [0, 1]
    assert [counted["call_gain"][part]["mean"] for part in ("small", "large")] == [1, 0]
    assert [counted["schema_harm"][part]["mean"] for part in ("small", "large")] == [0, 1]
    assert (greedy["right_and_hit"]["all"], shuffled["right_and_hit"]["all"]) == (1, None)
    assert (greedy["zoom_rate"]["small"], greedy["zoom_rate"]["large"]) == (1, 0)
    assert (greedy["zoom_hit_rate"]["all"], shuffled["zoom_hit_rate"]["all"]) == (1, None)
    assert (greedy["unanswered"]["all"], sampled["unanswered"]["all"]) == (0.5, 0)
    assert (shuffled["failed_call_rate"]["all"], shuffled["pixels"]["all"]) == (0.5, 2 * 784)
    assert "score_leave_one_out" not in greedy and "cycles" not in greedy
    assert sampled["types"]["all"] == {
        "tool_success": {"share": 0.5, "score": 0.75},
        "no_tool": {"share": 0.5, "score": 0.25},
        "tool_fail": {"share": 0, "score": None},
    }


def test_the_table():
    lines = table(report(ANSWERS, resamples=20)).splitlines()
    assert lines[0].split() == ["all", "(n=2)", "large", "(n=1)", "small", "(n=1)"]
    assert any(line.startswith("tool_gain") and "1.000 [1.000, 1.000]" in line for line in lines)
    assert ["tool_effect", "0.000", "[-1.000,", "1.000]"] in [line.split()[:4] for line in lines]
    assert any(line.split()[-5:] == ["1.000", "x", "1.000", "x", "1.000"] for line in lines if "call_gain" in line)
    assert ["types/sampled/tool_fail", *["0.000,", "-"] * 3] in [line.split() for line in lines]
    assert len({len(line) for line in lines}) == 1


def test_without_the_conditions_that_are_compared_there_is_no_gain():
    counted = report([*rows("direct", "a", 0.0), *rows("greedy", "a", 1.0, calls=["ok"])], 20)
    assert list(counted) == ["conditions"]


def test_two_questions_with_one_id():
    with pytest.raises(UserError, match="two questions have the id a; is a data set listed twice"):
        report([*rows("greedy", "a", 1.0), *rows("greedy", "a", 0.0)], 20)


def test_rotations_are_averaged_by_cycle_and_drawn_together():
    correct = {"p": (1.0, 1.0), "q": (1.0, 0.0), "r": (0.0, 0.0)}
    answers = [
        row
        for question, scores in correct.items()
        for cycle, score in enumerate(scores)
        for row in rows("greedy", f"{question}{cycle}", score, subset="FSP", cluster=question, cycle=str(cycle))
    ]
    counted = report(answers, 500)
    greedy = counted["conditions"]["greedy"]
    assert greedy["cycles"]["FSP"] == {"0": pytest.approx(2 / 3), "1": pytest.approx(1 / 3)}
    score = greedy["score"]["all"]
    assert (score["mean"], score["n"]) == (0.5, 6)
    three = bootstrap([1.0, 0.5, 0.0], 500)  # questions, not six
    assert (score["low"], score["high"]) == pytest.approx((three.low, three.high))
    incomplete = [row for row in answers if row["id"] != "q1"]  # a rotation that could not be read
    mean = report(incomplete, 20)["conditions"]["greedy"]["score"]["all"]["mean"]
    assert mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert any(line.startswith("cycles/greedy/1") and "0.333" in line for line in table(counted).splitlines())
