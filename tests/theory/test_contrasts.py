"""Contrasts against scipy's t-tests, and ratios against the contrasts that they must agree with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ddpmx.theory.contrasts import contrast
from ddpmx.theory.differences import Family
from ddpmx.theory.power import needs_of, sentence
from ddpmx.theory.ratio import ratio_interval
from ddpmx.theory.scores import Draws, SpecScores

GENERATOR = np.random.default_rng(3)
A, B, C = (mean + GENERATOR.normal(size=6) for mean in (10.0, 12.0, 20.0))


def spec(values: np.ndarray, seeds: tuple[int, ...] = (), draws: np.ndarray | None = None) -> SpecScores:
    found = None if draws is None else Draws("halves", draws[None])
    return SpecScores(seeds or tuple(range(len(values))), tuple(values.tolist()), found)


def test_specs_with_the_same_seeds_are_paired():
    order = np.array([3, 1, 0, 5, 4, 2])
    shuffled = spec(B[order], tuple(order.tolist()))
    family = Family([spec(A), shuffled, spec(C)])
    found = contrast(family, {0: 1.0, 1: 0.5, 2: -2.0}, 0.03).difference
    of_seed = A + 0.5 * B - 2 * C
    interval = stats.ttest_1samp(of_seed, 0).confidence_interval(0.97)
    assert found.value == pytest.approx(of_seed.mean())
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert not found.welch


def test_specs_with_different_seeds_are_independent():
    family = Family([spec(A), spec(B[:4], (7, 8, 9, 10))])
    found = contrast(family, {0: 1.0, 1: -1.0}, 0.05).difference
    interval = stats.ttest_ind(A, B[:4], equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert found.welch


def test_the_images_part_is_the_spread_of_the_contrast_over_halves():
    halves = GENERATOR.normal(size=(3, 20))
    family = Family(
        [spec(np.array([mean, mean]), draws=row) for mean, row in zip((1.0, 2.0, 3.0), halves, strict=True)]
    )
    found = contrast(family, {0: 2.0, 1: -3.0, 2: 0.0}, 0.05).difference
    assert found.images is not None
    assert found.images.sd == pytest.approx(float(np.std(2 * halves[0] - 3 * halves[1], ddof=1)))
    assert found.half == pytest.approx(found.images.sd * stats.t(19).ppf(0.975))


def test_a_spec_with_one_seed_leaves_a_value_without_an_interval():
    found = contrast(Family([spec(A), spec(B[:1])]), {0: 1.0, 1: -1.0}, 0.05)
    assert (found.difference.half, found.future) == (None, None)
    assert found.difference.value == pytest.approx(A.mean() - B[0])


def test_more_seeds_would_narrow_a_contrast_as_students_t_says():
    found = contrast(Family([spec(A), spec(B)]), {0: 2.0, 1: -1.0}, 0.05)
    assert found.future is not None
    for seeds in (6, 24):
        part = found.future.part(seeds)
        sd = float(np.std(2 * A - B, ddof=1)) / math.sqrt(seeds)
        assert part.half == pytest.approx(sd * stats.t(seeds - 1).ppf(0.975))
    needed = needs_of(found.difference, found.future, 0.3, present=6)
    assert needed.seeds is not None
    assert needed.seeds.low > 6
    assert "a slope of" in sentence(found.difference, needed, "one of {}", "slope")


@pytest.mark.parametrize("by", [0.5, 1.0, 1.3])
def test_the_ends_of_a_ratio_are_where_its_contrast_is_on_the_edge(by):
    halves = GENERATOR.normal(size=(2, 20)) * 0.3
    family = Family([spec(A, draws=halves[0]), spec(B, (3, 4, 5, 6, 7, 8), draws=halves[1])])
    difference = family.difference(0, 1) if by == 1 else contrast(family, {0: 1.0, 1: -by}, 0.05).difference
    low, high = ratio_interval(family, 0, 1, difference, by)
    assert low is not None
    assert high is not None
    assert low < A.mean() / B.mean() < high
    assert (low <= by <= high) == (not difference.is_significant)
    if by != 1:
        return
    # at the end, the two are as far apart as the interval is wide; the critical values stay as they are
    assert difference.seeds is not None
    assert difference.images is not None
    variances = [family.seeds_part.variance(i) / 6 for i in (0, 1)]
    for end in (low, high):
        images = np.var(halves[0] - end * halves[1], ddof=1)
        seeds = variances[0] + end**2 * variances[1]
        squared = difference.images.critical**2 * images + difference.seeds.critical**2 * seeds
        assert (A.mean() - end * B.mean()) ** 2 == pytest.approx(squared)


def test_a_ratio_over_a_score_that_may_be_0_has_no_upper_end():
    family = Family([spec(10 + np.array([-0.1, 0.0, 0.1])), spec(0.2 + np.array([-0.9, 0.0, 0.9]))])
    low, high = ratio_interval(family, 0, 1, contrast(family, {0: 1.0, 1: -2.0}, 0.05).difference, 2.0)
    assert high is None
    assert low is not None
    assert 0 < low < 10


def test_scores_without_noise_have_an_exact_ratio():
    family = Family([spec(np.full(3, 6.0)), spec(np.full(3, 2.0))])
    assert ratio_interval(family, 0, 1, family.difference(0, 1)) == (3.0, 3.0)
