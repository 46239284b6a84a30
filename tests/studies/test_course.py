import pytest

from loupe.studies.course import advantage_gaps, course, validations


def test_first_and_last_steps_and_when_the_format_is_learned():
    steps = [{"step": n, "reward/format": n / 20, "think/words": float(n)} for n in range(1, 21)]
    found = course(steps)
    assert (found["first/think/words"], found["last/think/words"]) == (3.0, 18.0)
    assert found["first/reward/format"] == pytest.approx(0.15)
    assert found["saturated/reward/format"] == 20
    assert found["think/reward_correlation"] is None
    assert "first/reward/iou" not in found
    assert course(steps[:10])["saturated/reward/format"] is None
    assert course([{"step": 1, "loss": 1.0}])["saturated/reward/format"] is None  # supervised, or without this term


def test_groups_that_agree_and_those_drawn_are_means_over_the_halves():
    steps = [{"step": n, "zero_variance_share": n / 10, "drawn/groups": 16.0 * n} for n in range(1, 6)]
    found = course(steps)
    halves = [found[f"{half}/drawn/groups"] for half in ("first_half", "second_half")]
    assert halves == [32.0, 64.0]  # the middle is in both
    assert found["second_half/zero_variance_share"] == pytest.approx(0.4)
    assert "first_half/drawn/zero_variance_share" not in found
    assert course(steps[:1])["second_half/drawn/groups"] == 16.0


def test_a_step_without_readable_rows_does_not_count():
    steps = [{"step": 1, "loss": 0.0}, {"step": 2, "score/all": 0.5}, {"step": 3, "score/all": 1.0}]
    assert course(steps)["first/score/all"] == 0.75


def test_the_correlation_is_a_mean_over_the_steps_that_have_one():
    steps = [{"step": n, "reward/format": 0.0} for n in range(3)]
    steps[0]["think/reward_correlation"], steps[2]["think/reward_correlation"] = 0.5, 0.25
    assert course(steps)["think/reward_correlation"] == 0.375


def test_advantages_are_compared_where_both_types_occur():
    found = advantage_gaps(
        [
            {"advantage/all/tool_success/mean": 1.0, "advantage/all/tool_fail/mean": -1.0},
            {"advantage/all/tool_success/mean": 0.0, "advantage/all/tool_fail/mean": 0.5},
            {"advantage/all/tool_success/mean": 9.0, "advantage/large/no_tool/mean": 1.0},
        ]
    )
    assert found == {
        **{"gap/all/tool_fail": 0.75, "gap/all/tool_fail/share": 0.5},
        **{"gap/all/no_tool": None, "gap/all/no_tool/share": None},
        **{"gap/large/no_tool": None, "gap/large/no_tool/share": None},  # never both
        **{"gap/large/tool_fail": None, "gap/large/tool_fail/share": None},
    }


def test_validations_are_the_rows_that_have_one():
    rows = [
        {"step": 0, "val/score/small": 0.25, "val/zoom_hit_rate/all": 0.5, "val/reward/mean": 1.0},
        {"step": 1, "score/small": 0.75, "loss": 0.1},
        {"step": 2, "val/score/small": 0.5},
    ]
    assert validations(rows) == [
        {"step": 0, "score/small": 0.25, "zoom_hit_rate/all": 0.5},
        {"step": 2, "score/small": 0.5},
    ]
