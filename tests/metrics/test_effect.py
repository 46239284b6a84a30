import math
from itertools import product

import pytest
from answer_rows import rows

from loupe.errors import UserError
from loupe.metrics.effect import COMPARISONS, TERMS, comparisons, decomposition
from loupe.metrics.intervals import bootstrap

BY_HAND = {  # question: score without the tool, score with it, calls
    "a": (0.0, 1.0, ["ok"]),
    "b": (0.0, 1.0, ["not_yaml"]),
    "c": (0.0, 0.0, ["ok"]),
    "d": (0.0, 1.0, []),
    "e": (0.0, 0.0, []),
    "f": (1.0, 0.0, ["ok"]),
    "g": (1.0, 1.0, ["ok"]),
    "h": (1.0, 0.0, []),
    "i": (1.0, 1.0, []),
    "j": (1.0, 1.0, []),
}


def conditions(answers):
    """The same answers in reverse order with the tool; large where the name is f or later."""

    def subset(name):
        return "small" if name < "f" else "large"

    without = [row for q, (bare, _, _) in answers.items() for row in rows("no_tool", q, bare, subset=subset(q))]
    reverse = reversed(answers.items())
    with_tool = [row for q, (_, s, calls) in reverse for row in rows("greedy", q, s, subset=subset(q), calls=calls)]
    return {"no_tool": without, "greedy": with_tool}


def check_sums(report, parts):
    for part in parts:
        terms = {term: report[term][part]["mean"] for term in TERMS}
        net = terms["call_gain"] + terms["schema_gain"] - terms["call_harm"] - terms["schema_harm"]
        assert net == pytest.approx(report["tool_effect"][part]["mean"], abs=1e-12)
        for term, factors in report["factors"][part].items():
            assert math.prod(factor or 0.0 for factor in factors.values()) == pytest.approx(terms[term], abs=1e-12)


def test_the_four_terms_by_hand():
    report = comparisons(conditions(BY_HAND), 50)
    means = {term: {part: value["mean"] for part, value in report[term].items()} for term in TERMS}
    assert means == {
        "call_gain": {"all": 0.2, "small": 0.4, "large": 0},
        "schema_gain": {"all": 0.1, "small": 0.2, "large": 0},
        "call_harm": {"all": 0.1, "small": 0, "large": 0.2},
        "schema_harm": {"all": 0.1, "small": 0, "large": 0.2},
    }
    third = pytest.approx(1 / 3)
    assert report["factors"]["all"] == {
        "call_gain": {"mass": 0.5, "policy": 0.6, "quality": pytest.approx(2 / 3)},
        "schema_gain": {"mass": 0.5, "policy": 0.4, "quality": 0.5},
        "call_harm": {"mass": 0.5, "policy": 0.4, "quality": 0.5},
        "schema_harm": {"mass": 0.5, "policy": 0.6, "quality": third},
    }
    assert report["factors"]["small"]["call_harm"] == {"mass": 0, "policy": None, "quality": None}
    check_sums(report, ("all", "small", "large"))


def test_intervals_are_paired_over_questions():
    report = comparisons(conditions(BY_HAND), 200)
    interval = bootstrap([0.0] * 8 + [1.0, 1.0], 200)  # the questions in their order with the tool: b and a last
    assert report["call_gain"]["all"] == {"mean": 0.2, "low": interval.low, "high": interval.high, "n": 10}


def test_gain_and_harm_are_sums_of_terms_where_scores_are_0_or_1():
    report = comparisons(conditions(BY_HAND), 20)
    for metric, kind in (("tool_gain", "gain"), ("tool_harm", "harm")):
        for part, value in report[metric].items():
            summed = report[f"call_{kind}"][part]["mean"] + report[f"schema_{kind}"][part]["mean"]
            assert value["mean"] == pytest.approx(summed)


def test_graded_scores_count_by_their_change():
    scores = list(product((0.0, 1 / 3, 2 / 3, 1.0), repeat=2))
    graded = {f"{i:02}": (bare, tool, ["ok"] * (i % 2)) for i, (bare, tool) in enumerate(scores)}
    report = comparisons(conditions(graded), 20)
    check_sums(report, ["all"])
    graded = {"a": (1 / 3, 1.0, ["ok"]), "b": (1 / 3, 0.0, ["ok"]), "c": (1.0, 2 / 3, []), "d": (2 / 3, 1.0, [])}
    report = comparisons(conditions(graded), 20)
    assert report["call_gain"]["all"]["mean"] == pytest.approx((2 / 3 - 1 / 3) / 4)
    assert report["schema_harm"]["all"]["mean"] == pytest.approx((1 / 3 - 1 / 3) / 4)
    assert report["factors"]["all"]["call_gain"] == {"mass": 0.5, "policy": 1, "quality": pytest.approx(1 / 6)}


def test_samples_count_one_by_one():
    without = rows("no_tool", "a", 0.0, 1 / 3)
    sampled = [*rows("greedy", "a", 1.0, calls=["ok"]), *rows("greedy", "a", 0.0)]
    report = comparisons({"no_tool": without, "greedy": sampled}, 20)
    assert report["factors"]["all"]["call_gain"] == {"mass": 1, "policy": 0.5, "quality": pytest.approx(5 / 6)}
    assert report["schema_gain"]["all"]["mean"] == pytest.approx(-1 / 12)
    check_sums(report, ["all"])


def test_all_cycles_count_alike():
    """Also where a rotation is incomplete."""
    asked = [("p0", "0", 1.0), ("q0", "0", 0.0), ("p1", "1", 1.0)]
    without = [row for q, cycle, _ in asked for row in rows("no_tool", q, 0.0, cycle=cycle, cluster=q[0])]
    given = [row for q, cycle, s in asked for row in rows("greedy", q, s, cycle=cycle, cluster=q[0], calls=["ok"])]
    report = comparisons({"no_tool": without, "greedy": given}, 20)
    assert report["call_gain"]["all"]["mean"] == 0.75
    check_sums(report, ["all"])


def test_only_questions_that_both_answer_count():
    asked = conditions(BY_HAND)
    asked["no_tool"] = [row for row in asked["no_tool"] if row["id"] != "a"]
    report = comparisons(asked, 20)
    assert {report[term]["all"]["n"] for term in (*TERMS, "tool_effect")} == {9}
    check_sums(report, ("all", "small", "large"))
    with pytest.raises(UserError, match="every row was skipped"):
        decomposition(rows("no_tool", "x", 1.0), asked["greedy"], 20)


def test_the_description_is_compared_with_no_tool():
    asked = conditions(BY_HAND)
    described = {"no_tool": asked["no_tool"], "described": asked["greedy"]}
    (name,) = comparisons(described, 20)
    assert name == "description_effect"
    assert comparisons(described, 20)[name] == comparisons(asked, 20)["tool_effect"]
    assert comparisons({"greedy": asked["greedy"]}, 20) == {}
    assert list(comparisons(described | asked, 20)) == [*COMPARISONS[:-1], "factors", COMPARISONS[-1]]
