import pandas
import pytest

from loupe.errors import UserError
from loupe.studies import cures

SETTINGS = [
    {},
    {"reward.weights.tool": "{start: 0.5, end: 0, steps: 25}"},
    {"algorithm.loss.beta": "0.04"},
    {"reward": "tool_by_benefit", "algorithm.loss.beta": "0.0"},
    {"rollout.balance": "1"},
    {"rollout.balance": "1", "rollout.learn_forced": "true"},
    {"rollout": "balanced"},
    {"reward": "tool_by_benefit", "rollout.balance": "1", "rollout.learn_forced": "true"},
    {"reward": "tool_by_benefit", "rollout.balance": "1", "rollout.learn_forced": "winning"},
]


def row(number, settings, seed=1, zooms=0.0):
    made = {f"setting/{key}": value for key, value in ({"reward.weights.tool": "0.1", "seed": seed} | settings).items()}
    made |= {"job": f"{number}/{seed}", "commit": "abc", "command": "python src/train.py"}
    for part in ("all", "large"):
        ends = {f"after/score/{part}/low": 0.4, f"after/score/{part}/high": 0.6}
        made |= {f"after/score/{part}": 0.5, f"after/zoom_rate/{part}": zooms} | ends
    return made


@pytest.fixture
def found(tmp_path):
    zooms = {1: 1.0, 2: 0.0, 3: 0.6}
    rows = [row(i, s, seed, zooms[seed]) for seed in zooms for i, s in enumerate(SETTINGS)]
    pandas.DataFrame(rows[::-1]).to_csv(tmp_path / "results.csv", index=False)
    return cures.runs(pandas.read_csv(tmp_path / "results.csv", dtype={"job": str}))


def test_each_run_is_named_after_its_cure(found):
    named = list(dict.fromkeys(zip(found.cure, found.bonus, strict=True)))
    assert named == [
        *(("none", "0.1"), ("decaying bonus", "0.5"), ("KL to the base", "0.1")),
        *(("measured benefit", "0.1"), ("balanced groups", "0.1"), ("balanced, learned", "0.1")),
        *(("balanced, winning", "0.1"), ("benefit and balanced, learned", "0.1")),
        ("benefit and balanced, winning", "0.1"),
    ]
    assert list(found[found.cure == "none"].seed) == [1, 2, 3]
    assert list(found[found.cure == "none"].collapsed) == [True, False, True]


def test_shares_have_exact_intervals(found):
    shares = cures.shares(found).set_index("cure")
    assert list(shares.collapsed) == [2] * 9 and list(shares.runs) == [3] * 9
    assert shares.loc["none", ["share", "low", "high"]].tolist() == pytest.approx([2 / 3, 0.0943, 0.9916], abs=1e-4)


def test_every_run_is_a_dot(found):
    zooms, score = cures.figure(found).axes
    assert sorted(y for line in zooms.lines for y in line.get_ydata()) == [0.0] * 9 + [0.6] * 9 + [1.0] * 9
    named = [label.get_text().replace("\n", " ") for label in score.get_xticklabels()]
    assert named == list(dict.fromkeys(found.cure))


def test_another_study_is_refused():
    with pytest.raises(UserError, match=r"no column setting/reward\.weights\.tool"):
        cures.runs(pandas.DataFrame({"job": ["a"]}))
    with pytest.raises(UserError, match=r"setting/reward\.weights\.tool=0\.2: this study knows 0\.1 and 0\.5"):
        cures.runs(pandas.DataFrame([row(0, {}), row(1, {"reward.weights.tool": "0.2"})]))


def test_scores_over_seeds_are_in_the_order_of_the_cures():
    scores = {"score/all": 0.5, "score/all/low": 0.25, "score/all/high": 0.75, "score/all/n": 3, "runs": 3}
    settings = [{"reward": "tool_by_benefit", "reward.weights.tool": 0.5}, {"reward.weights.tool": 0.1}]
    table = pandas.DataFrame([{f"setting/{key}": value for key, value in s.items()} | scores for s in settings])
    assert cures.over_seeds(table).values.tolist() == [
        ["none", "0.1", 3, "0.50 [0.25, 0.75]"],
        ["measured benefit", "0.5", 3, "0.50 [0.25, 0.75]"],
    ]
