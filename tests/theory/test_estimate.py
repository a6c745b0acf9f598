"""Intervals and "within noise" against scipy's Student t and Welch's test, and their simulated coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from ddpmx.theory.estimate import (
    Estimate,
    VarianceComponent,
    half_width,
    mean_of_repeats,
    mean_over_seeds,
    student_t,
    within_noise,
)

A, B = [4.1, 4.7, 3.9], [5.2, 6.9, 5.0, 5.6]
Z = stats.norm.ppf(0.975)


def seeds(values: Sequence[float], half: float | None = None) -> Estimate:
    """The mean over seeds whose scores have intervals of ± half, or none."""
    return mean_over_seeds(
        [Estimate(value, None if half is None else (value - half, value + half)) for value in values]
    )


def test_seeds_are_students_interval_of_the_mean():
    estimate = seeds(A)
    wanted = stats.t.interval(0.95, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert estimate.value == pytest.approx(np.mean(A), rel=1e-12)
    assert estimate.interval == pytest.approx(wanted, rel=1e-12)


def test_one_seed_keeps_the_interval_of_its_score():
    assert seeds([3.0]) == Estimate(3.0, None)
    assert seeds([3.0], 0.5) == Estimate(3.0, (2.5, 3.5))


def test_two_groups_of_seeds_are_welchs_test():
    difference = seeds(A).minus(seeds(B))
    welch = stats.ttest_ind(A, B, equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert difference.interval == pytest.approx((low, high), rel=1e-10)
    assert within_noise(seeds(A), seeds(B)) == (welch.pvalue > 0.05)


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 0.5, 2.0])
def test_within_noise_is_welchs_p_above_5_percent(shift: float):
    b = [value + shift for value in B]
    assert within_noise(seeds(A), seeds(b)) == (stats.ttest_ind(A, b, equal_var=False).pvalue > 0.05)


def test_two_scores_are_a_z_test():
    """3 ± 3 and 8 ± 4: the half-widths add like the legs of a right triangle."""
    difference = Estimate(8.0, (4.0, 12.0)).minus(Estimate(3.0, (0.0, 6.0)))
    assert difference.value == 5.0
    assert difference.interval == pytest.approx((0.0, 10.0), abs=1e-12)
    assert not within_noise(Estimate(8.001, (4.001, 12.001)), Estimate(3.0, (0.0, 6.0)))
    assert within_noise(Estimate(7.999, (3.999, 11.999)), Estimate(3.0, (0.0, 6.0)))


def test_seeds_minus_a_score_have_degrees_of_freedom_between_the_two():
    alone = Estimate(1.0, (0.5, 1.5))
    e, f = stats.sem(B), 0.5 / Z
    freedom = (e**2 + f**2) ** 2 / (e**4 / 3)
    half = stats.t.ppf(0.975, freedom) * math.hypot(e, f)
    value = np.mean(B) - 1.0
    assert half > stats.t.ppf(0.975, 3) * e / 2
    wanted = max(half, stats.t.ppf(0.975, 3) * e)
    assert seeds(B).minus(alone).interval == pytest.approx((value - wanted, value + wanted), rel=1e-10)


def test_noise_shared_by_all_seeds_does_not_shrink_with_their_number():
    """Seeds that agree to the last digit are as uncertain as one score."""
    for k in (2, 3, 100):
        assert seeds([4.0] * k, 0.5).interval == pytest.approx((3.5, 4.5), rel=1e-12)


def test_more_noise_never_narrows_an_interval():
    few = (VarianceComponent(0.25, 1),)
    halves = [half_width((*few, VarianceComponent(own))) for own in np.geomspace(1e-6, 1e4, 60)]
    assert all(narrow <= wide for narrow, wide in zip([half_width(few), *halves], halves, strict=False))
    assert halves[-1] == pytest.approx(Z * 100, rel=1e-4)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("own", [0.0, 0.2, 1.0, 5.0])
def test_the_interval_covers_training_and_measurement(k: int, own: float):
    """Coverage is 95 % for noise of each seed (standard deviation 1) plus noise that all seeds share."""
    generator, times, covered = np.random.default_rng(k), 1500, 0
    for _ in range(times):
        low, high = seeds(
            (generator.normal(size=k) + own * generator.normal()).tolist(), Z * own
        ).interval or (0, 0)
        covered += low <= 0 <= high
    assert covered / times > 0.943 - 3 * math.sqrt(0.05 * 0.95 / times)


def test_the_luckiest_of_twelve_equal_specs_is_within_noise_of_any_other():
    """Eleven tests at 5 % each, without a correction, would find a better spec in a quarter of the cases."""
    generator, times, own = np.random.default_rng(0), 300, 0.5
    wrong = {2: 0, 12: 0}
    for _ in range(times):
        first, *others = (
            seeds((generator.normal(size=3) + own * generator.normal()).tolist(), Z * own) for _ in range(12)
        )
        for compared in wrong:
            wrong[compared] += any(not within_noise(other, first, compared) for other in others)
    assert wrong[12] / times < 0.05 + 3 * math.sqrt(0.05 * 0.95 / times)
    assert wrong[2] / times > 0.15


def test_repeats_of_a_seed_are_not_independent_draws():
    assert mean_of_repeats([Estimate(3.0, (2.5, 3.75)), Estimate(4.0, (3.0, 5.0))]) == Estimate(
        3.5, (3.0, 4.25)
    )
    assert mean_of_repeats([Estimate(3.0), Estimate(4.0)]) == Estimate(3.5)


def test_an_interval_cut_off_at_zero_counts_with_its_longer_side():
    assert half_width(Estimate(0.5, (0.0, 2.5)).variances) == pytest.approx(2.0, rel=1e-12)


def test_an_estimate_without_interval_is_within_noise_of_everything():
    assert within_noise(Estimate(1.0), Estimate(100.0, (99.0, 101.0)))
    assert Estimate(1.0).minus(Estimate(2.0, (1.0, 3.0))) == Estimate(-1.0)


def test_equal_specs_differ_significantly_one_time_in_twenty():
    """Three seeds against three from one distribution: Welch's test is conservative here, so at most 5 %."""
    draws = np.random.default_rng(0).normal(size=(2000, 2, 3))
    wrong = sum(not within_noise(seeds(a), seeds(b)) for a, b in draws.tolist()) / len(draws)
    assert 0.02 < wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))


@pytest.mark.parametrize("freedom", [1.0, 2.5, 30.0, math.inf])
def test_students_t(freedom: float):
    wanted = stats.norm.ppf(0.975) if math.isinf(freedom) else stats.t.ppf(0.975, freedom)
    assert student_t(freedom) == pytest.approx(wanted, rel=1e-12)
