"""Intervals and "within noise", against scipy's own Student t and Welch, and against how often they should be right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ddpmx.estimate import Estimate, of_seeds, student_t, within_noise

A, B = [4.1, 4.7, 3.9], [5.2, 6.9, 5.0, 5.6]


def test_seeds_are_students_interval_of_the_mean():
    estimate = of_seeds(A)
    wanted = stats.t.interval(0.95, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert estimate.value == pytest.approx(np.mean(A), rel=1e-12)
    assert estimate.interval == pytest.approx(wanted, rel=1e-12)
    assert estimate.error == pytest.approx(stats.sem(A), rel=1e-12)


def test_one_seed_says_nothing_of_its_noise():
    assert of_seeds([3.0]) == Estimate(3.0, None)


def test_two_groups_of_seeds_are_welchs_test():
    difference = of_seeds(A).minus(of_seeds(B))
    welch = stats.ttest_ind(A, B, equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert difference.interval == pytest.approx((low, high), rel=1e-10)
    assert difference.freedom == pytest.approx(welch.df, rel=1e-10)
    assert within_noise(of_seeds(A), of_seeds(B)) == (welch.pvalue > 0.05)


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 0.5, 2.0])
def test_within_noise_is_welchs_p_above_5_percent(shift: float):
    b = [value + shift for value in B]
    assert within_noise(of_seeds(A), of_seeds(b)) == (stats.ttest_ind(A, b, equal_var=False).pvalue > 0.05)


def test_two_scores_are_a_z_test():
    """3 ± 3 and 8 ± 4: the half-widths add like the legs of a right triangle."""
    difference = Estimate(8.0, (4.0, 12.0)).minus(Estimate(3.0, (0.0, 6.0)))
    assert difference.value == 5.0
    assert difference.interval == pytest.approx((0.0, 10.0), abs=1e-12)
    assert not within_noise(Estimate(8.001, (4.001, 12.001)), Estimate(3.0, (0.0, 6.0)))
    assert within_noise(Estimate(7.999, (3.999, 11.999)), Estimate(3.0, (0.0, 6.0)))


def test_seeds_beside_a_score_have_degrees_of_freedom_between_the_two():
    seeds, alone = of_seeds(A), Estimate(1.0, (0.5, 1.5))
    e, f = seeds.error or 0.0, 0.5 / stats.norm.ppf(0.975)
    freedom = (e**2 + f**2) ** 2 / (e**4 / 2)
    half = stats.t.ppf(0.975, freedom) * math.hypot(e, f)
    value = np.mean(A) - 1.0
    assert seeds.minus(alone).interval == pytest.approx((value - half, value + half), rel=1e-10)


def test_what_has_no_interval_is_within_noise_of_everything():
    assert within_noise(Estimate(1.0), Estimate(100.0, (99.0, 101.0)))
    assert Estimate(1.0).minus(Estimate(2.0, (1.0, 3.0))) == Estimate(-1.0)


def test_equal_specs_are_told_apart_one_time_in_twenty():
    """Seeds of one distribution, 3 against 3: Welch's test is conservative there, so at most 5 % and not never."""
    draws = np.random.default_rng(0).normal(size=(2000, 2, 3))
    wrong = sum(not within_noise(of_seeds(a), of_seeds(b)) for a, b in draws.tolist()) / len(draws)
    assert 0.02 < wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))


@pytest.mark.parametrize("freedom", [1.0, 2.5, 30.0, math.inf])
def test_students_t(freedom: float):
    wanted = stats.norm.ppf(0.975) if math.isinf(freedom) else stats.t.ppf(0.975, freedom)
    assert student_t(freedom) == pytest.approx(wanted, rel=1e-12)
