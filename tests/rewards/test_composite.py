from pathlib import Path

import pytest
from conftest import bare_group
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from loupe.errors import UserError
from loupe.records import Example, Group, ToolEvent, Trajectory
from loupe.rewards import terms
from loupe.rewards.composite import CompositeReward

CONF = Path(__file__).parents[2] / "conf"
TERMS = {"accuracy": terms.accuracy, "soft": terms.soft, "format": terms.well_formed, "tool": terms.tool}
WEIGHTS = {"accuracy": 0.5, "soft": 0.5, "format": 0.1, "tool": 0.1}
CALL = "<think>look</think><tool>name: zoom</tool>"


def reading(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


def group(*trajectories: Trajectory, references: tuple[str, ...] = ("stop", "stop", "shop")) -> Group:
    example = Example(id="q7", image=b"", question="What does it say?", references=references)
    return bare_group(example, *trajectories)


def four() -> list[Trajectory]:
    """Right with a crop; half right without; wrong with a crop; a failed call and no answer."""
    return [
        Trajectory(sample=0, turns=[CALL, reading("stop")], events=[ToolEvent("ok")]),
        Trajectory(sample=1, turns=["I say " + reading("shop")]),
        Trajectory(sample=2, turns=[CALL, reading("zzzz")], events=[ToolEvent("ok")]),
        Trajectory(sample=3, turns=[CALL], events=[ToolEvent("bad_yaml")]),
    ]


def rewards(reward: CompositeReward, scored: Group, step: int = 0) -> list[float]:
    reward.score_group(scored, step)
    return [trajectory.reward for trajectory in scored.trajectories]


def load(name: str, *overrides: str) -> CompositeReward:
    with initialize_config_dir(config_dir=str(CONF), version_base=None):
        config = compose(config_name=f"reward/{name}", overrides=list(overrides))
    return instantiate(config.reward, _convert_="all")


def test_rewards_by_hand():
    scored = group(*four())
    # accuracy: 2/3, 1/3, 0, 0; soft: (1 + 1 + 3/4)/3 = 11/12, (3/4 + 3/4 + 1)/3 = 10/12, 0, 0
    assert rewards(CompositeReward(TERMS, WEIGHTS), scored) == pytest.approx(
        [
            0.5 * 2 / 3 + 0.5 * 11 / 12 + 0.1 + 0.1,
            0.5 * 1 / 3 + 0.5 * 10 / 12,
            0.1 + 0.1,
            0.0,
        ]
    )
    assert scored.trajectories[0].terms == pytest.approx(
        {"accuracy": 2 / 3, "soft": 11 / 12, "format": 1.0, "tool": 1.0}
    )
    assert scored.trajectories[3].terms == {"accuracy": 0.0, "soft": 0.0, "format": 0.0, "tool": 0.0}


@pytest.mark.parametrize("weights", [{"accuracy": 1.0}, {"accuracy": 1, "soft": 0, "format": 0, "tool": 0.0}])
def test_terms_without_weight_are_metrics(weights):
    scored = group(*four())
    assert rewards(CompositeReward(TERMS, weights), scored) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert scored.trajectories[2].terms == {"accuracy": 0.0, "soft": 0.0, "format": 1.0, "tool": 1.0}


def test_schedule():
    reward = CompositeReward(TERMS, {"accuracy": 0.7, "tool": {"start": 0.2, "end": 0.1, "steps": 100}})
    expected = {0: 0.2, 25: 0.175, 50: 0.15, 99: 0.101, 100: 0.1, 5000: 0.1}
    assert {step: reward.weight("tool", step) for step in expected} == pytest.approx(expected)
    assert [reward.weight("accuracy", step) for step in (0, 1, 1000)] == [0.7, 0.7, 0.7]
    assert reward.weight("soft", 3) == 0.0


def test_reward_follows_the_schedule():
    reward = CompositeReward({"tool": terms.tool}, {"tool": {"start": 0.2, "end": 0.0, "steps": 4}})
    assert [rewards(reward, group(*four()), step)[0] for step in (0, 1, 4)] == pytest.approx([0.2, 0.15, 0.0])


def test_gate_silences_shaping_only_where_every_answer_is_wrong():
    reward = CompositeReward(TERMS, WEIGHTS, shaping=["format", "tool"], gate="group_correct")
    right, half, wrong, failed = four()
    assert rewards(reward, group(right, wrong))[1] == pytest.approx(0.2)  # a neighbour is right
    assert rewards(reward, group(wrong, failed)) == [0.0, 0.0]
    assert wrong.terms["format"] == 1.0  # still a metric
    # soft is no shaping term: "shop" against "stop" keeps 0.5 * 3/4, its neighbour's 0.2 goes
    assert rewards(reward, group(half, wrong, references=("stop",))) == pytest.approx([0.375, 0.0])


def test_gate_acts_on_named_terms_only():
    reward = CompositeReward(TERMS, WEIGHTS, shaping=["tool"], gate="group_correct")
    wrong, failed = four()[2:]
    assert rewards(reward, group(wrong, failed)) == pytest.approx([0.1, 0.0])


def test_the_bonus_counts_only_where_no_direct_answer_is_right():
    reward = CompositeReward(TERMS, {"tool": 0.1, "format": 0.01}, shaping=["format", "tool"], gate="tool_needed")
    right, half, wrong, failed = four()
    assert rewards(reward, group(right, half, wrong)) == pytest.approx([0.01, 0.0, 0.01])  # half is right without it
    assert rewards(reward, group(right, wrong, failed)) == pytest.approx([0.11, 0.11, 0.0])
    beside = Trajectory(sample=4, turns=[reading("zzzz")])
    assert rewards(reward, group(wrong, beside)) == pytest.approx([0.11, 0.01])


def test_the_bonus_counts_by_what_a_call_gains():
    reward = CompositeReward(TERMS, {"tool": 0.1, "format": 0.01}, shaping=["format", "tool"], gate="tool_benefit")
    right, half, wrong, failed = four()  # accuracy 2/3 and 0 with a call, 1/3 without; the failed call is neither
    assert rewards(reward, group(right, half, failed)) == pytest.approx([0.01 + 0.1 / 3, 0.0, 0.0])
    assert rewards(reward, group(wrong, half)) == pytest.approx([0.01 - 0.1 / 3, 0.0])
    assert rewards(reward, group(right, wrong, failed)) == pytest.approx([0.01, 0.01, 0.0])  # nothing to compare with


def test_without_gate_shaping_counts_everywhere():
    wrong, failed = four()[2:]
    assert rewards(CompositeReward(TERMS, WEIGHTS, shaping=["format", "tool"]), group(wrong, failed)) == (
        pytest.approx([0.2, 0.0])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": {"tol": 0.1}},
            r"reward\.weights\.tol: .*'tol'; known terms: accuracy, soft, format, tool; did you mean tool\?",
        ),
        ({"weights": {"hard": 0.1}}, r"reward\.weights\.hard: .*'hard'; it is called accuracy now"),
        ({"weights": {"tool": "much"}}, r"reward\.weights\.tool=much: must be a finite number"),
        ({"weights": {"tool": None}}, r"reward\.weights\.tool=None: must be a finite number"),
        ({"weights": {"tool": True}}, r"reward\.weights\.tool=True: must be a finite number"),
        ({"weights": {"accuracy": float("nan")}}, r"reward\.weights\.accuracy=nan: must be a finite number"),
        ({"weights": {"accuracy": float("inf")}}, r"reward\.weights\.accuracy=inf: must be a finite number"),
        ({"weights": {"tool": {"start": 1, "end": 0}}}, r"reward\.weights\.tool=.*keys start, end and steps"),
        ({"weights": {"tool": {"start": "x", "end": 0, "steps": 9}}}, r"reward\.weights\.tool\.start=x"),
        ({"weights": {"tool": {"start": 1, "end": 0, "steps": 0}}}, r"reward\.weights\.tool\.steps=0"),
        ({"weights": {"tool": {"start": 1, "end": 0, "steps": 1.5}}}, r"reward\.weights\.tool\.steps=1\.5"),
        ({"shaping": ["style"]}, r"reward\.shaping: .*'style'; known terms: accuracy, soft, format, tool"),
        ({"gate": "always"}, r"reward\.gate=always: must be one of none, group_correct, tool_needed, tool_benefit"),
        ({"terms": {"tool": terms.tool}, "gate": "group_correct"}, r"reward\.gate=group_correct: .*'accuracy'"),
        ({"terms": {"accuracy": terms.accuracy}, "gate": "tool_needed"}, r"reward\.gate=tool_needed: .*'tool'"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(UserError, match=message):
        CompositeReward(**{"terms": TERMS, "weights": {}} | change)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1"])
def test_a_term_that_returns_no_finite_number_is_named(value):
    reward = CompositeReward({"accuracy": terms.accuracy, "odd": lambda trajectory, group: value}, {"accuracy": 1.0})
    message = rf"reward\.terms\.odd: returned {value} for the question q7; a term returns a number from 0 to 1"
    with pytest.raises(UserError, match=message):
        reward.score_group(group(*four()), step=0)


@pytest.mark.parametrize(
    ("name", "weights", "tool", "gate"),
    [
        ("composite", [0.5, 0.5, 0.1, 0.1], terms.tool, "none"),
        ("answer_only", [0.5, 0.5, 0.0, 0.0], terms.tool, "none"),
        ("accuracy_only", [1.0, 0.0, 0.1, 0.1], terms.tool, "none"),
        ("soft_only", [0.0, 1.0, 0.1, 0.1], terms.tool, "none"),
        ("no_tool_bonus", [0.5, 0.5, 0.1, 0.0], terms.tool, "none"),
        ("tool_if_correct", [0.5, 0.5, 0.1, 0.1], terms.tool_if_correct, "none"),
        ("outcome_gated", [0.5, 0.5, 0.1, 0.1], terms.tool, "group_correct"),
        ("tool_if_needed", [0.5, 0.5, 0.1, 0.1], terms.tool, "tool_needed"),
        ("tool_by_benefit", [0.5, 0.5, 0.1, 0.1], terms.tool, "tool_benefit"),
    ],
)
def test_configs(name, weights, tool, gate):
    reward = load(name)
    assert reward.terms == {**TERMS, "tool": tool}
    assert [reward.weight(term, 0) for term in ("accuracy", "soft", "format", "tool")] == weights
    assert reward.shaping == {"format", "tool"}
    assert reward.gate == gate


def test_the_reward_for_boxes():
    reward = load("iou", "reward.terms.iou_above.stages=[[0, 0.5], [10, 0.75]]", "reward.weights.iou_above=0.5")
    assert [name for name in reward.terms if reward.weight(name, 0)] == ["iou", "format", "iou_above"]
    assert reward.terms["iou_above"].stages == [[0, 0.5], [10, 0.75]]


def test_a_term_may_change_over_training():
    class Later:
        def at(self, step):
            return lambda trajectory, group: float(step)

    scored = group(*four())
    assert rewards(CompositeReward({"later": Later()}, {"later": 0.5}), scored, step=3) == [1.5] * 4


def test_every_config_is_tested():
    names = {file.stem for file in (CONF / "reward").glob("*.yaml")} - {"iou"}
    tested = {case[0] for mark in test_configs.pytestmark for case in mark.args[1]}
    assert names == tested


def test_weights_from_the_command_line():
    reward = load("composite", "reward.weights.tool=0.2", "reward.weights.format=0")
    assert [reward.weight(term, 9) for term in ("tool", "format")] == [0.2, 0.0]


def test_schedule_from_the_command_line():
    reward = load("composite", "reward.weights.tool={start: 0.2, end: 0, steps: 100}")
    assert [reward.weight("tool", step) for step in (0, 75, 100)] == pytest.approx([0.2, 0.05, 0.0])


def briefest(trajectory: Trajectory, scored: Group) -> float:
    """1 if no other trajectory of the group is shorter: a term that compares."""
    return float(len(trajectory.text) == min(len(other.text) for other in scored.trajectories))


def test_a_term_may_compare_with_its_group():
    scored = group(*four())
    assert rewards(CompositeReward({"brief": briefest}, {"brief": 1.0}), scored) == [0.0, 0.0, 0.0, 1.0]
    alone = group(four()[0])
    assert rewards(CompositeReward({"brief": briefest}, {"brief": 1.0}), alone) == [1.0]


@pytest.mark.parametrize(
    "term",
    ["loupe.rewards.terms.soft", "{_target_: hydra.utils.get_method, path: loupe.rewards.terms.soft}"],
    ids=["short", "long"],
)
def test_a_term_is_added_by_name(term):
    reward = load("composite", f"+reward.terms.mine={term}", "+reward.weights.mine=0.3")
    assert reward.terms["mine"] is terms.soft
    assert reward.weight("mine", 0) == 0.3


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("brief", r"=brief: must be the name of a module and of something in it"),
        ("my terms.brief", r"=my terms\.brief: must be the name of a module"),
        ("no_such_module.brief", r"=no_such_module\.brief: there is no module no_such_module: neither in"),
        (
            "loupe.rewards.terms.sofft",
            r"=.*: the module .* \(.*/terms\.py\) has no sofft; did you mean soft",
        ),
        ("loupe.rewards.terms.AGREEING", r"=.*: must be a function of \(trajectory, group\)"),
        ("loupe.rewards.terms.soft_score.x", r"=.*: soft_score has no x"),
        ("loupe.errors.is_number", r"=.*: must be a function of \(trajectory, group\)"),
        ("loupe.rewards.boxes.Length", r"=.*: is a class; write \{_target_: loupe\.rewards\.boxes\.Length\}"),
        (None, r"=None: must be a function of \(trajectory, group\)"),
    ],
)
def test_a_term_must_be_a_function_of_trajectory_and_group(term, message):
    with pytest.raises(UserError, match=r"^reward\.terms\.mine" + message):
        CompositeReward({"mine": term}, {})
