import pytest
from answer_rows import rows

from loupe.errors import UserError
from loupe.metrics.intervals import bootstrap
from loupe.metrics.summary import CORRECT, by_part, paired, question_scores, summarize, tool_gain_and_harm

ANSWERS = [
    *rows("sampled", "a", 1.0, 0.0, calls=["ok"], hits=[True]),
    *rows("sampled", "a2", 0.0, 0.0, calls=["not_yaml", "ok"], hits=[False]),
    *rows("sampled", "b", 0.5, 0.0, subset="large", answered=False, pixels=2 * 784),
]


def test_a_summary_by_hand():
    summary = summarize(ANSWERS)
    assert summary == {
        "score": {"all": 0.25, "large": 0.25, "small": 0.25},
        "unanswered": {"all": pytest.approx(1 / 3), "large": 1, "small": 0},
        "zoom_rate": {"all": pytest.approx(2 / 3), "large": 0, "small": 1},
        "zoom_hit_rate": {"all": 0.5, "large": None, "small": 0.5},
        "right_and_hit": {"all": 0.25, "large": None, "small": 0.25},
        "failed_call_rate": {"all": pytest.approx(1 / 3), "large": 0, "small": pytest.approx(1 / 3)},
        "pixels": {"all": pytest.approx(784 * 4 / 3), "large": 2 * 784, "small": 784},
        "n": {"all": 6, "large": 2, "small": 4},
    }


def test_right_and_hit_needs_both_and_counts_answers_without_a_call():
    mixed = [
        *rows("greedy", "a", 1.0, calls=["ok", "ok"], hits=[False, True]),
        *rows("greedy", "b", 1.0, hits=[]),
        *rows("greedy", "c", 1 / 3, calls=["ok"], hits=[True]),
        *rows("greedy", "d", 1.0, calls=["ok"], hits=[False], subset="large"),
        *rows("greedy", "e", 1.0, subset="large"),  # its target is not known
    ]
    assert summarize(mixed)["right_and_hit"] == {"all": 0.25, "large": 0, "small": pytest.approx(1 / 3)}


def test_with_intervals_scores_are_means_over_questions():
    plain, judged = summarize(ANSWERS), summarize(ANSWERS, resamples=50)
    assert judged["score"]["all"]["mean"] == plain["score"]["all"]
    assert {part: value["n"] for part, value in judged["score"].items()} == {"all": 3, "large": 1, "small": 2}
    interval = bootstrap([0.5, 0.0, 0.25], 50)
    assert (judged["score"]["all"]["low"], judged["score"]["all"]["high"]) == (interval.low, interval.high)
    assert {metric: judged[metric] for metric in judged if metric != "score"} == {
        metric: plain[metric] for metric in plain if metric != "score"
    }


def test_scores_that_were_not_asked_for_are_left_out():
    mixed = [*rows("greedy", "a", 1.0, score_leave_one_out=0.9), *rows("greedy", "b", 0.0, iou=0.4, subset="large")]
    summary = summarize(mixed)
    assert summary["score_leave_one_out"] == {"all": 0.9, "small": 0.9}
    assert summary["iou"] == {"all": 0.4, "large": 0.4}


def test_the_forms_of_one_question_are_drawn_together():
    forms = [*rows("greedy", "a", 1.0, cluster="q", cycle="0"), *rows("greedy", "b", 0.0, cluster="q", cycle="1")]
    score = summarize(forms, 50)["score"]["all"]
    assert score["low"] == score["mean"] == score["high"] == 0.5  # there is only one question to draw


def test_parts_are_all_and_the_subsets_in_order():
    assert by_part(["small", None, "large"], lambda name: name) == {
        "all": ["small", None, "large"],
        "large": ["large"],
        "small": ["small"],
    }
    with pytest.raises(UserError, match="every row was skipped"):
        by_part([], lambda name: name)
    with pytest.raises(UserError, match="called 'all', the name for all questions; rename it"):
        by_part(["all"], lambda name: name)


def test_gain_and_harm_by_hand():
    without, with_tool = {"a": 0.0, "b": 1.0, "c": 1 / 3, "d": 2 / 3}, {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0}
    report = tool_gain_and_harm(
        [row for question, score in without.items() for row in rows("no_tool", question, score)],
        [row for question, score in reversed(with_tool.items()) for row in rows("greedy", question, score)],
        50,
    )
    assert report["tool_gain"]["all"]["mean"] == report["tool_gain"]["small"]["mean"] == 0.5  # a and c
    assert report["tool_harm"]["all"]["mean"] == 0.25  # b
    assert 1 / 3 < CORRECT <= 2 / 3


def test_samples_of_a_question_are_averaged_first():
    assert question_scores(rows("sampled", "a", 1.0, 0.0)) == {"a": 0.5}


def test_paired_compares_what_both_answer():
    before = [*rows("greedy", "a", 0.0), *rows("greedy", "b", 1.0), *rows("greedy", "x", 1.0)]
    after = [*rows("greedy", "b", 1.0), *rows("greedy", "a", 1.0), *rows("greedy", "y", 1.0)]
    gain = paired(before, after, lambda one, other: other - one, 50)
    assert (gain.mean, gain.n) == (0.5, 2)


def test_nothing_to_count():
    with pytest.raises(UserError, match="every row was skipped"):
        summarize([])
