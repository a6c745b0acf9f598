"""Differences of specs: closed forms where one noise is alone, levels, and what little data leave unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ddpmx.theory.differences import Family, best
from ddpmx.theory.largest_t import Configuration, images_critical, seeds_critical
from ddpmx.theory.scores import Draws, SpecScores
from ddpmx.theory.welch import welch_quantile

HALVES = np.random.default_rng(0).normal(size=(3, 200))


def spec(*values: float, draws: Draws | None = None, variance: float | None = None, pooled: bool = True):
    return SpecScores(tuple(range(len(values))), values, draws, variance, pooled)


def test_two_networks_are_compared_over_the_same_halves():
    a, b = (Draws("halves", HALVES[i : i + 1]) for i in (0, 1))
    (difference,) = Family([spec(3.0, draws=a), spec(1.0, draws=b)]).differences.values()
    assert difference.level == "networks"
    assert difference.images_sd == pytest.approx((HALVES[0] - HALVES[1]).std(ddof=1), rel=1e-12)
    assert not difference.decides_specs


def test_draws_of_a_mean_over_images_shrink_with_their_number():
    values = HALVES[:2, :50]
    a, b = (Draws("images", each[None]) for each in values)
    (difference,) = Family([spec(1.0, draws=a), spec(0.5, draws=b)]).differences.values()
    assert difference.images_sd == pytest.approx(stats.sem(values[0] - values[1]), rel=1e-12)


def test_common_noise_of_the_images_cancels():
    common = 100 * HALVES[2]
    a, b = (Draws("halves", (HALVES[i] + common)[None]) for i in (0, 1))
    (difference,) = Family([spec(3.0, draws=a), spec(1.0, draws=b)]).differences.values()
    assert difference.images_sd == pytest.approx((HALVES[0] - HALVES[1]).std(ddof=1), rel=1e-9)


@pytest.mark.parametrize("n", [None, 10, 11])
def test_halves_of_an_odd_number_are_rescaled(n: int | None):
    a, b = (Draws("halves", HALVES[i : i + 1], n) for i in (0, 1))
    scale = 5 / 6 if n == 11 else 1.0
    wanted = (HALVES[0] - HALVES[1]).std(ddof=1) * math.sqrt(scale)
    (difference,) = Family([spec(3.0, draws=a), spec(1.0, draws=b)]).differences.values()
    assert difference.images_sd == pytest.approx(wanted, rel=1e-12)


def test_draws_that_are_not_aligned_are_independent():
    a, b = Draws("halves", HALVES[:1]), Draws("halves", HALVES[1:2, :150])
    (difference,) = Family([spec(3.0, draws=a), spec(1.0, draws=b)]).differences.values()
    assert difference.images_sd == pytest.approx(math.hypot(HALVES[0].std(ddof=1), b.values.std(ddof=1)))
    assert difference.images is not None
    assert difference.images.degrees_of_freedom == 149


def test_what_the_interval_has_in_excess_of_the_draws_is_added():
    flat = Draws("halves", np.ones((1, 200)))
    (difference,) = Family(
        [spec(1.0, draws=flat, variance=0.04), spec(0.5, draws=flat, variance=0.09)]
    ).differences.values()
    assert difference.images_sd == pytest.approx(math.sqrt(0.13), rel=1e-12)
    own = float(HALVES[:1].var(axis=1, ddof=1)[0])
    assert spec(1.0, draws=Draws("halves", HALVES[:1]), variance=own).excess == 0


@pytest.mark.parametrize(
    "scores", [[spec(1.0), spec(2.0)], [spec(1.0, 2.0), spec(3.0)], [spec(1.0, variance=1.0), spec(3.0)]]
)
def test_one_seed_and_no_draws_leave_the_interval_unknown(scores: list[SpecScores]):
    (difference,) = Family(scores).differences.values()
    assert difference.interval is None
    assert not difference.is_significant


def test_two_seeds_need_no_draws():
    (difference,) = Family([spec(1.0, 1.1), spec(2.0, 2.1)]).differences.values()
    assert difference.level == "specs"
    assert difference.images is None
    assert difference.interval is not None


def test_an_unstable_spec_is_compared_by_welch():
    a, b = [4.1, 4.7, 3.9], [5.2, 6.9, 5.0, 5.6]
    (difference,) = Family([spec(*a), spec(*b, pooled=False)]).differences.values()
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert difference.welch
    assert difference.interval == pytest.approx(tuple(welch), rel=1e-9)


def test_a_spread_out_of_line_does_not_widen_the_others():
    narrow = [[0.0, 0.1, -0.1], [0.05, 0.2, 0.0], [1.0, 1.1, 0.9]]
    family = Family([*(spec(*values) for values in narrow), spec(-300.0, 0.0, 300.0)])
    welch = {pair: difference.welch for pair, difference in family.differences.items()}
    assert welch == {pair: 3 in pair for pair in welch}
    assert family.difference(0, 1).seeds_sd < 0.2


def test_positive_scores_are_pooled_in_proportion():
    """Ten times the score with ten times the spread, in units of either score, is the same spec."""
    family = Family([spec(1.0, 1.1, 1.2), spec(10.0, 11.0, 12.0)])
    assert family.seeds_part.variance(1) == pytest.approx(100 * family.seeds_part.variance(0), rel=1e-9)
    shifted = Family([spec(-1.0, 0.1, 1.2), spec(10.0, 11.0, 12.0)])
    assert not shifted.seeds_part.relative


def test_what_seeds_do_to_all_specs_cancels():
    own = np.random.default_rng(1).normal(size=(12, 5))
    common = np.array([0.0, 40.0, -30.0, 10.0, 20.0])
    families = [Family([spec(*row) for row in scores]) for scores in (own, own + common)]
    sds = [family.difference(0, 1).seeds_sd for family in families]
    assert families[0].seeds_part.pairs_seeds
    assert sds[0] == pytest.approx(sds[1], rel=1e-9)


def test_seeds_are_matched_by_their_numbers():
    generator = np.random.default_rng(1)
    specs = [SpecScores(tuple(range(6)), tuple(generator.normal(size=6))) for _ in range(4)]
    turned = [SpecScores(each.seeds[::-1], each.values[::-1]) for each in specs]
    mixed = [turned[0], specs[1], turned[2], specs[3]]
    assert Family(specs).seeds_part.pairs_seeds
    assert Family(mixed).difference(0, 1).half == pytest.approx(Family(specs).difference(0, 1).half or 0)


def test_a_difference_turns_its_sign():
    family = Family([spec(1.0, 1.2), spec(2.0, 2.5)])
    there, back = family.difference(0, 1), family.difference(1, 0)
    assert there.value == -back.value
    assert there.interval == tuple(-end for end in reversed(back.interval or (0, 0)))


def test_the_best_are_those_that_no_other_beats():
    scores = [spec(1.0, 1.01, 1.02, 1.0), spec(1.01, 1.0, 1.02, 1.01), spec(9.0, 9.1, 9.05, 9.0), spec(0.1)]
    assert best(Family(scores)) == (0, 1, 3)
    assert best(Family(scores[:3]), lower_is_better=False) == (2,)


@pytest.mark.parametrize("specs", [2, 3, 12])
def test_the_images_critical_value_is_that_of_the_studentized_range(specs: int):
    wanted = stats.studentized_range.ppf(0.95, specs, np.inf) / math.sqrt(2)
    assert images_critical(specs, 0, math.inf, 0.05) == pytest.approx(wanted, rel=0.015)


def test_critical_values_lie_between_tukeys_and_welchs():
    for seeds in (2, 3, 8):
        tukey = stats.t.ppf(0.975, 2 * (seeds - 1))
        welch = stats.t.ppf(0.975, seeds - 1)
        factor = seeds_critical(Configuration.even(2, seeds), 0.05)[0, 1]
        assert tukey < factor * welch_quantile(1.0, 1.0, seeds - 1, seeds - 1) < welch


def test_the_quantile_has_the_degrees_of_freedom_of_welchs_test_and_one_more():
    for a, b, m, n in ((1.0, 1.0, 2, 2), (1.0, 0.0, 1, 7), (2.0, 0.5, 3, 9)):
        freedom = (a + b) ** 2 / (a**2 / (m + 1) + b**2 / (n + 1))
        assert welch_quantile(a, b, m, n) == pytest.approx(stats.t.ppf(0.995, freedom), rel=2e-4)


def test_critical_values_belong_to_their_specs():
    values = seeds_critical(Configuration((7, 1, 7, 1)), 0.05)
    assert values[0, 2] < values[0, 1]
    assert values[0, 1] == values[3, 2] == values[2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 2), (1.0,)), "2 seeds with 1"),
        (((1, 1), (1.0, 2.0)), "different"),
        (((1,), (math.nan,)), "finite"),
        (((1,), (1.0,), None, -1.0), "at least 0"),
    ],
)
def test_scores_that_make_no_sense_are_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        SpecScores(*arguments)
