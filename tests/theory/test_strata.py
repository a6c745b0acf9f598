"""The noise of a mean over images at stratified noise levels: that of neighbours, not of all images."""

from __future__ import annotations

import numpy as np
import pytest

from ddpmx.theory.images_part import ImagesPart
from ddpmx.theory.scores import Draws, FloatArray, SpecScores

IMAGES, REPETITIONS = 200, 2000


def losses(generator: np.random.Generator) -> FloatArray:
    """Losses [REPETITIONS, 2, IMAGES] of two specs, far larger at some levels than at others."""
    levels = (np.arange(IMAGES) + generator.random((REPETITIONS, 1, IMAGES))) / IMAGES
    noise = 0.1 * generator.normal(size=(REPETITIONS, 2, IMAGES))
    shared = 0.2 * generator.normal(size=(REPETITIONS, 1, IMAGES))
    return 5 * (1 - levels) ** 3 + noise + shared


def test_the_variance_is_that_of_repeated_means() -> None:
    drawn = losses(np.random.default_rng(0))
    wanted = np.cov(drawn.mean(axis=2).T)
    found = np.mean([Draws("strata", one[:1]).covariance(one) for one in drawn], axis=0)
    assert found == pytest.approx(wanted, rel=0.12)
    naive = np.mean([Draws("images", one[:1]).covariance(one) for one in drawn[:200]], axis=0)
    assert naive[0, 0] > 10 * wanted[0, 0]


def test_what_two_specs_share_cancels_in_their_difference() -> None:
    drawn = losses(np.random.default_rng(1))
    truth = (drawn[:, 0] - drawn[:, 1]).mean(axis=1).std()
    specs = [SpecScores((0,), (each.mean(),), Draws("strata", each[None])) for each in drawn[0]]
    found = ImagesPart(specs).sd(0, 1)
    assert found == pytest.approx(truth, rel=0.25)


def test_a_part_of_the_images_stands_for_all() -> None:
    one = losses(np.random.default_rng(2))[0, :1]
    every, half = Draws("strata", one, IMAGES), Draws("strata", one[:, ::2], IMAGES)
    assert half.covariance(half.values) == pytest.approx(every.covariance(every.values), rel=0.3)
