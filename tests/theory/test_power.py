"""The power of a comparison against the noncentral t distribution and against simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ddpmx.theory.differences import Difference, Family, Part
from ddpmx.theory.power import Range, in_words, needs, smallest_shown
from ddpmx.theory.scores import Draws, SpecScores


def family(spread: float, images: float, gap: float, seeds: int = 4, halves: int = 200) -> Family:
    """Two specs with these standard deviations over seeds and, of the difference, over images."""
    generator = np.random.default_rng(0)

    def exact(size: int, sd: float) -> np.ndarray:
        noise = generator.normal(size=size)
        return sd * (noise - noise.mean()) / noise.std(ddof=1)

    common = Draws("halves", np.zeros((1, halves)))
    draws = Draws("halves", exact(halves, images)[None])
    return Family(
        [
            SpecScores(tuple(range(seeds)), tuple(10 + exact(seeds, spread)), common),
            SpecScores(tuple(range(seeds)), tuple(10 + gap + exact(seeds, spread)), draws),
        ]
    )


@pytest.mark.parametrize(("freedom", "critical"), [(1, 12.7), (2, 4.3), (10, 3.5), (30, 2.0)])
def test_one_noise_is_the_noncentral_t(freedom: int, critical: float):
    shown = smallest_shown(Difference(0.0, "specs", None, Part(2.0, freedom, critical)))
    power = 1 - stats.nct.cdf(critical, freedom, shown / 2.0)
    assert power == pytest.approx(0.8, abs=0.005)


def test_a_known_noise_is_half_the_interval_and_the_80_percent_quantile():
    shown = smallest_shown(Difference(0.0, "networks", Part(3.0, math.inf, 1.96), None))
    assert shown == pytest.approx(3 * (1.96 + stats.norm.ppf(0.8)), rel=1e-4)


def test_two_noises_have_80_percent_power_in_simulated_data():
    images, seeds = Part(1.0, 19, 2.1), Part(1.5, 4, 3.6)
    shown = smallest_shown(Difference(0.0, "specs", images, seeds))
    generator, size = np.random.default_rng(0), 40_000
    half = np.sqrt(
        (images.half**2) * generator.chisquare(19, size) / 19
        + (seeds.half**2) * generator.chisquare(4, size) / 4
    )
    power = np.mean(shown + math.hypot(1.0, 1.5) * generator.normal(size=size) > half)
    assert power == pytest.approx(0.8, abs=0.01)


def test_an_unknown_interval_shows_nothing():
    assert smallest_shown(Difference(1.0, "networks", None, None)) is None


def test_the_seeds_needed_would_show_the_difference():
    """At the upper end of the range, the estimated spread is more than enough."""
    scarce = family(spread=0.3, images=0.02, gap=0.5)
    found = needs(scarce, 0, 1).seeds
    assert found is not None
    assert 4 < found.low < found.high
    more = family(spread=0.3, images=0.02, gap=0.5, seeds=int(found.high))
    assert smallest_shown(more.difference(0, 1)) < 0.5


def test_more_images_help_by_the_root_of_their_number():
    scarce = family(spread=0.001, images=0.3, gap=0.3, halves=2000)
    found = needs(scarce, 0, 1).images
    shown = smallest_shown(scarce.difference(0, 1))
    assert found is not None
    assert found.low <= (shown / 0.3) ** 2 <= found.high


def test_what_alone_cannot_help_is_none():
    assert needs(family(spread=0.01, images=1.0, gap=0.3), 0, 1).seeds is None
    assert needs(family(spread=1.0, images=0.01, gap=0.3), 0, 1).images is None


def test_more_than_64_is_said():
    found = needs(family(spread=1.0, images=0.001, gap=0.05), 0, 1)
    assert str(found.seeds) == "more than 64"
    assert [str(each) for each in (Range(3.2, 5.0), Range(7.5, math.inf), Range(6, 6))] == [
        "4 to 5",
        "8 to more than 64",
        "6",
    ]


def test_one_seed_each_borrows_the_spread_of_the_others():
    pair = family(spread=0.3, images=0.02, gap=0.3)
    single = SpecScores((0,), (10.1,), Draws("halves", np.zeros((1, 200))))
    assert needs(Family([*pair.specs, single]), 0, 2, 0.3).seeds is not None
    alone = Family([single, SpecScores((0,), (10.4,), Draws("halves", np.ones((1, 200))))])
    assert needs(alone, 0, 1).seeds is None


def test_the_sentence():
    words = in_words(family(spread=0.3, images=0.1, gap=0.3), 0, 1)
    assert words.startswith("a difference of ")
    assert "seeds a side" in words
    assert words.endswith("would show the 0.3 seen")
    assert "80 % power" in words
    single = [
        SpecScores((0,), (value,), Draws("halves", np.random.default_rng(int(value)).normal(size=(1, 200))))
        for value in (1.0, 2.0)
    ]
    words = in_words(Family(single), 0, 1, 4.0)
    assert "between these two trained networks would have been shown" in words
    assert words.endswith("times the images would show one of 4 between these networks")


def test_what_did_not_show_the_difference_seen_is_not_enough():
    pair = family(spread=0.3, images=0.1, gap=0.5)
    assert not pair.difference(0, 1).is_significant
    found = needs(pair, 0, 1)
    assert found.seeds is not None
    assert found.seeds.low >= 5
    assert found.images is None or found.images.low > 1
