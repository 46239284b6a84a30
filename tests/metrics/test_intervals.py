import numpy as np
import pytest

from loupe.errors import UserError
from loupe.metrics.intervals import bootstrap, flat, interquartile_mean, over_runs, share, without_ends


def test_the_interval_of_a_proportion_agrees_with_theory():
    values = [1.0] * 300 + [0.0] * 700
    estimate = bootstrap(values)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert estimate.mean == pytest.approx(0.3)
    assert estimate.n == 1000
    assert estimate.low == pytest.approx(0.3 - half, abs=0.004)
    assert estimate.high == pytest.approx(0.3 + half, abs=0.004)


def test_it_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    intervals = [bootstrap(generator.random(80) < 0.4, resamples=300) for _ in range(300)]
    covered = np.mean([estimate.low <= 0.4 <= estimate.high for estimate in intervals])
    assert 0.89 <= covered <= 0.99


def test_equal_values_have_no_width_and_the_seed_decides():
    assert str(bootstrap([0.5] * 9)) == "0.500 [0.500, 0.500]"
    values = list(np.random.default_rng(0).random(50))
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_no_values():
    with pytest.raises(UserError, match="no values"):
        bootstrap([])


def test_forms_of_one_question_count_as_one():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    once, twice = bootstrap(values), bootstrap([*values, *values], clusters=[*"abcde", *"abcde"])
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))
    assert twice.n == 10
    apart = bootstrap([*values, *values])
    assert apart.high - apart.low < twice.high - twice.low


def test_parts_have_equal_weight():
    found = bootstrap([1.0, 1.0, 1.0, 0.0], parts=["a", "a", "a", "b"], resamples=500)
    assert found.mean == 0.5
    assert (found.low, found.high) == (0.5, 1)  # every draw with both parts gives a half; many lack the small one


def test_an_interval_takes_four_keys():
    score = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    found = flat({"a": {"b": score, "c": None}, "d": 1})
    assert found == {"a/b": 0.5, "a/b/low": 0.25, "a/b/high": 0.75, "a/b/n": 8, "a/c": None, "d": 1}
    assert without_ends([*found, "n", "c/low"]) == ["a/b", "a/c", "d", "n", "c/low"]


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side():
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, -9.0]) == 2.0
    assert interquartile_mean([9.0, 1.0, 2.0]) == 4.0  # too few to leave any out
    assert interquartile_mean(np.arange(10.0)) == 4.5


def test_an_interval_over_runs_covers_the_truth():
    generator = np.random.default_rng(2)

    def interval():
        abilities = np.clip(generator.normal(0.6, 0.1, size=(10, 1)), 0, 1)
        return over_runs(generator.random((10, 60)) < abilities, ["a"] * 60, resamples=200)

    covered = np.mean([found.low <= 0.6 <= found.high for found in (interval() for _ in range(150))])
    assert 0.85 <= covered <= 0.99


def test_an_interval_over_runs_draws_runs_and_questions():
    runs_differ = over_runs([[0.0] * 8, [0.5] * 8, [1.0] * 8], ["a"] * 8)
    assert (runs_differ.mean, runs_differ.low, runs_differ.high, runs_differ.n) == (0.5, 0.0, 1.0, 3)
    questions_differ = over_runs([[0.0, 1.0] * 20] * 3, ["a"] * 40)
    assert 0.3 < questions_differ.low < 0.45 and 0.55 < questions_differ.high < 0.7
    strata_differ = over_runs([[0.0, 1.0] * 20] * 3, ["a", "b"] * 20)
    assert strata_differ.low == strata_differ.high == 0.5  # as many of each are drawn every time


def test_forms_of_one_question_are_drawn_together_for_runs_too():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    once = over_runs([values] * 2, ["a"] * 5)
    twice = over_runs([[*values, *values]] * 2, ["a"] * 10, clusters=[*"abcde", *"abcde"])
    assert (twice.mean, twice.low, twice.high) == pytest.approx((once.mean, once.low, once.high))


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0, 0.3085), (1, 10, 0.0025, 0.4450), (4, 12, 0.0992, 0.6511), (3, 3, 0.2924, 1)],
)
def test_the_exact_interval_of_a_share(count, n, low, high):
    found = share(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)  # from published tables
    assert (found.mean, found.n) == (count / n, n)
