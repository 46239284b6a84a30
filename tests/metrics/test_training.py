import statistics

import pytest
from conftest import bare_group

from loupe.errors import UserError
from loupe.geometry import Frame
from loupe.metrics.rows import answer_rows
from loupe.metrics.training import advantage_metrics, histogram, rollout_metrics, think_metrics, unforced
from loupe.records import OK, Example, StopReason, ToolEvent, Trajectory
from loupe.tools.errors import CallError

RIGHT, WRONG, NONE = "<answer>7</answer>", "<answer>8</answer>", "hm"
TARGET = (100.0, 100.0, 120.0, 110.0)
HIT = ToolEvent(OK, "zoom", {"keypoint": [1, 2]}, keypoint=(110.0, 105.0), box=(0, 0, 400, 400))
MISS = ToolEvent(OK, "zoom", {"keypoint": [9, 9]}, keypoint=(700.0, 700.0), box=(500, 500, 900, 900))
FAILED = ToolEvent(CallError.NOT_YAML)


def trajectory(sample, turns, events=(), reward=0.0, advantage=0.0, stop=StopReason.ANSWERED, written=0):
    """Two sampled tokens a turn, of entropy 0.5 and 1.5, then ``written`` tokens of the environment."""
    made = Trajectory(sample, events=list(events), turns=list(turns), reward=reward, advantage=advantage, stop=stop)
    for _ in turns:
        made.append_sampled(5, -0.1, 0.5)
        made.append_sampled(6, -0.2, 1.5)
    made.append_written([7] * written, [])
    made.terms = {"format": reward / 2}
    return made


def example(name, subset, target=TARGET):
    return Example(name, b"", "What is the number?", ("7",), target_boxes=(target,) if target else (), subset=subset)


def group(name, subset, *trajectories, target=TARGET):
    return bare_group(example(name, subset, target), *trajectories)


def metrics(groups):
    return rollout_metrics(groups, answer_rows(groups, "sampled", factor=28, merge=2))


def two_groups():
    """Types: small has two successes and a plain answer, large a failure, a plain answer and a success."""
    small = group(
        "a",
        "small",
        trajectory(0, [NONE, RIGHT], [HIT], reward=1.0, advantage=1.5, written=6),
        trajectory(1, [NONE, WRONG], [FAILED, MISS], reward=0.0, advantage=-0.5),
        trajectory(2, [WRONG], reward=0.0, advantage=-1.0),
    )
    large = group(
        "b",
        "large",
        trajectory(0, [NONE], [FAILED], reward=0.5, stop=StopReason.NO_ANSWER),
        trajectory(1, [RIGHT], reward=0.5),
        trajectory(2, [NONE, RIGHT], [MISS], reward=0.5, advantage=-0.25, stop=StopReason.OUT_OF_TOKENS),
    )
    return [small, large]


def test_advantages_by_type():
    report = advantage_metrics(two_groups())
    prefix = "advantage/all/tool_success"  # 1.5, -0.5, -0.25
    assert report[f"{prefix}/count"] == 3
    assert report[f"{prefix}/share"] == 0.5
    assert report[f"{prefix}/mean"] == 0.25
    assert report[f"{prefix}/std"] == pytest.approx((2.375 / 3) ** 0.5)  # squares of 1.25, -0.75, -0.5
    assert [report[f"{prefix}/{q}"] for q in ("q05", "q25", "q50", "q75", "q95")] == pytest.approx(
        [-0.475, -0.375, -0.25, 0.625, 1.325]
    )
    assert report["advantage/all/no_tool/mean"] == -0.5
    assert report["advantage/all/tool_fail/std"] == 0.0
    assert report["advantage/all/tool_fail/hist"].counts == [0] * 12 + [1] + [0] * 11


def test_advantages_by_type_and_subset():
    report = advantage_metrics(two_groups())
    small = {key.removeprefix("advantage/small/"): value for key, value in report.items() if "/small/" in key}
    counts = small.pop("tool_success/hist").counts  # of 1.5 and -0.5
    assert sum(counts) == 2 and counts[10] == counts[18] == 1
    assert sum(small.pop("no_tool/hist").counts) == 1
    quantiles = {f"no_tool/q{q:02}": -1.0 for q in (5, 25, 50, 75, 95)}
    quantiles |= dict(zip((f"tool_success/q{q:02}" for q in (5, 25, 50, 75, 95)), (-0.4, 0, 0.5, 1, 1.4), strict=True))
    assert small == pytest.approx(
        quantiles
        | {"no_tool/count": 1, "no_tool/share": 1 / 3, "no_tool/mean": -1.0, "no_tool/std": 0.0}
        | {"tool_success/count": 2, "tool_success/share": 2 / 3, "tool_success/mean": 0.5, "tool_success/std": 1.0}
        | {"tool_fail/count": 0, "tool_fail/share": 0.0}
    )
    assert report["advantage/large/tool_success/mean"] == -0.25


def test_a_type_without_trajectories_has_only_count_and_share():
    report = advantage_metrics([group("a", None, trajectory(0, [RIGHT], advantage=1.0))])
    assert {key for key in report if "tool_fail" in key} == {
        "advantage/all/tool_fail/count",
        "advantage/all/tool_fail/share",
    }
    assert all(key.startswith("advantage/all/") for key in report)  # no subset


def test_histogram_keeps_its_edges_and_clips_into_the_outermost_bins():
    made = histogram([-9.0, -3.0, -2.75, 0.1, 2.99, 3.0, 50.0])
    assert made.edges[0] == -3 and made.edges[1] == -2.75 and made.edges[-1] == 3
    assert len(made.edges) == len(made.counts) + 1
    assert made.counts == [2, 1] + [0] * 10 + [1] + [0] * 10 + [3]


def test_rollout_metrics():
    report = metrics(two_groups())
    kinds = {key: report.pop(key) for key in list(report) if key.startswith("failed_call/")}
    assert kinds == {f"failed_call/{kind}": 2 if kind == "not_yaml" else 0 for kind in CallError}
    by_part = {key: report.pop(key) for key in list(report) if key.endswith(("/all", "/small", "/large"))}
    third = pytest.approx(1 / 3)
    assert by_part == {
        **{"score/all": 0.5, "score/small": third, "score/large": pytest.approx(2 / 3)},
        **{"zoom_rate/all": 0.5, "zoom_rate/small": pytest.approx(2 / 3), "zoom_rate/large": third},
        **{"zoom_hit_rate/all": third, "zoom_hit_rate/small": 0.5, "zoom_hit_rate/large": 0},
        **{"right_and_hit/all": pytest.approx(1 / 6), "right_and_hit/small": third, "right_and_hit/large": 0},
        **{"failed_call_rate/all": 0.4, "failed_call_rate/small": third, "failed_call_rate/large": 0.5},
        **{"unanswered/all": pytest.approx(1 / 6), "unanswered/small": 0, "unanswered/large": third},
        **{"pixels/all": 0, "pixels/small": 0, "pixels/large": 0},
        **{"n/all": 6, "n/small": 3, "n/large": 3},
    }
    assert report == {
        "reward/mean": pytest.approx(2.5 / 6),
        "reward/format": pytest.approx(1.25 / 6),
        "stop/answered": pytest.approx(4 / 6),
        "stop/no_answer": pytest.approx(1 / 6),
        "stop/out_of_tokens": pytest.approx(1 / 6),
        "stop/out_of_turns": 0.0,
        "length/sampled": 3.0,  # 4, 4, 2, 2, 2, 4
        "length/written": 1.0,
        "length/turns": 1.5,
        "entropy": 1.0,
        "think/words": 0.0,
        "think/unique_share": 0.0,
        "zero_variance_share": 0.5,
    }


def test_trajectories_with_a_forced_tag_do_not_count():
    groups = two_groups()
    everyone = metrics(groups)
    groups[0].trajectories[0].free = False  # whether or not a tag could be forced
    assert [len(group.trajectories) for group in unforced(groups)] == [2, 3]
    own = rollout_metrics(groups, answer_rows(unforced(groups), "sampled", factor=28, merge=2))
    assert (everyone["n/all"], own["n/all"]) == (6, 5)
    assert own["reward/mean"] == pytest.approx((everyone["reward/mean"] * 6 - 1.0) / 5)
    assert own["zero_variance_share"] == everyone["zero_variance_share"] == 0.5


def test_what_is_thought():
    def thinking(sample, thought, reward):
        return trajectory(sample, [f"<think>{thought}</think><answer>7</answer>"], reward=reward)

    said = [thinking(0, "it is red", 0.5), thinking(1, "it is", 0.0), thinking(2, "it  is", 0.0), thinking(3, "", 0.0)]
    report = think_metrics(said)
    assert report["think/words"] == 7 / 4
    assert report["think/unique_share"] == 0.25  # the first; white space does not count, and no thought is none
    assert report["think/reward_correlation"] == pytest.approx(statistics.correlation([3, 2, 2, 0], [1, 0, 0, 0]))
    assert "think/reward_correlation" not in think_metrics(said[1:])  # the rewards are all the same


def test_boxes():
    frame = Frame.of("shown", (100, 50), (200, 100))
    answers = ["[10, 10, 30, 20]", "[10, 10, 20, 20]", "[30, 10, 10, 20]", "left", None]
    trajectories = [trajectory(i, [f"<answer>{a}</answer>" if a else NONE]) for i, a in enumerate(answers)]
    asked = Example("q", b"", "Where?", (), answer_box=(20.0, 20.0, 60.0, 40.0))
    report = metrics([bare_group(asked, *trajectories, frame=frame)])
    assert report["iou/all"] == pytest.approx((1 + 0.5) / 5)
    assert report["score/all"] == pytest.approx(2 / 5)
    bad = {key.removeprefix("bad_box/"): value for key, value in report.items() if key.startswith("bad_box/") and value}
    assert bad == {"reversed": 1, "malformed": 1, "no_answer": 1}


def test_entropy_is_a_mean_over_tokens_not_trajectories():
    long, short = trajectory(0, [NONE, NONE, NONE]), trajectory(1, [NONE])
    long.entropies = [0.0] * 6
    assert metrics([group("a", None, long, short)])["entropy"] == 0.25  # (6 * 0 + 0.5 + 1.5) / 8


def test_groups_of_one_have_no_variance_to_speak_of():
    report = metrics([group("a", None, trajectory(0, [RIGHT]))])
    assert "zero_variance_share" not in report


def test_without_calls_there_is_no_hit_rate():
    groups = [group("a", None, trajectory(0, [RIGHT], [FAILED]), trajectory(1, [RIGHT]))]
    assert "zoom_hit_rate/all" not in metrics(groups)
    assert metrics([group("a", None, trajectory(0, [RIGHT]))])["failed_call_rate/all"] == 0.0


def test_calls_on_pictures_without_a_known_target_do_not_count():
    unknown = group("a", None, trajectory(0, [RIGHT], [MISS]), target=None)
    assert "zoom_hit_rate/all" not in metrics([unknown])
    known = group("b", None, trajectory(0, [RIGHT], [HIT]))
    assert metrics([unknown, known])["zoom_hit_rate/all"] == 1.0


def test_the_score_is_the_accuracy_whatever_the_reward_is():
    pleased = trajectory(0, [WRONG], reward=1.0)
    pleased.terms = {"accuracy": 1.0}
    assert metrics([group("a", None, pleased)])["score/all"] == 0.0


@pytest.mark.parametrize("report", [advantage_metrics, metrics])
def test_nothing_to_report_on(report):
    with pytest.raises(UserError, match="every row was skipped"):
        report([])
