"""Combinations of stored averages: their profiles against quadrature and the weights of every single step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ddpmx.emas.power import Power
from ddpmx.emas.profile import WIDEST, Profiles, exponent, in_words, inner

Floats = npt.NDArray[np.float64]
STEPS = 1024


def weights_of_steps(std: float, step: int, steps: int) -> Floats:
    """How much each of `steps` steps counts in the average of this width at `step`, by its decays."""
    weights = np.zeros(steps)
    for now in range(1, step + 1):
        (decay,) = Power(std=(std,)).decays(now)
        weights *= decay
        weights[now - 1] += 1 - decay
    return weights


@pytest.mark.parametrize("t_a", [0.3, 1.0])
@pytest.mark.parametrize(("std_a", "std_b"), [(0.05, 0.1), (0.1, 0.02), (0.2, 0.2)])
def test_inner_products_are_the_integrals(t_a: float, std_a: float, std_b: float) -> None:
    nodes, factors = np.polynomial.legendre.leggauss(60)
    exact = inner(*(np.array(value) for value in (t_a, exponent(std_a), 0.7, exponent(std_b))))
    low = min(t_a, 0.7)
    tau = (nodes + 1) / 2 * low

    def profile(t: float, std: float) -> Floats:
        gamma = exponent(std)
        return np.asarray((gamma + 1) * tau**gamma / t ** (gamma + 1))

    integral = (profile(t_a, std_a) * profile(0.7, std_b) * factors).sum() * low / 2
    assert exact == pytest.approx(integral, rel=1e-9)


@pytest.mark.parametrize("std", [0.02, 0.03, 0.07, 0.15, 0.25])
def test_a_combination_is_the_best_sum_of_the_weights_of_all_steps(std: float) -> None:
    """Against least squares on the steps' own weights, which know nothing of profiles."""
    ema = Power(snapshots=8)
    profiles = ema.profiles(STEPS)
    found = profiles.combination(std)
    widths = [width for _ in range(len(profiles.steps) // 2) for width in ema.std]
    columns = np.stack(
        [weights_of_steps(width, step, STEPS) for step, width in zip(profiles.steps, widths, strict=True)]
    ).T
    wanted = weights_of_steps(std, STEPS, STEPS)
    best, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
    least = np.linalg.norm(columns @ best - wanted) / np.linalg.norm(wanted)
    error = np.linalg.norm(columns @ found.weights - wanted) / np.linalg.norm(wanted)
    assert found.weights.sum() == pytest.approx(1, abs=1e-9)
    assert error == pytest.approx(found.error, rel=0.02)
    assert least <= error <= 1.1 * least  # the condition that the weights sum to 1 costs little


def test_stored_averages_of_the_end_are_themselves() -> None:
    profiles = Power().profiles(STEPS)
    for std, index in ((0.05, -2), (0.1, -1)):
        combination = profiles.combination(std)
        one = np.zeros(len(profiles.steps))
        one[index] = 1
        assert combination.error < 1e-6
        np.testing.assert_allclose(combination.weights, one, atol=1e-8)


def test_the_errors_that_the_documentation_states() -> None:
    """32 snapshots of the widths 0.05 and 0.10, with the end at the last one."""
    profiles = Power().profiles(STEPS)
    errors = [round(profiles.combination(std).error, 3) for std in (0.01, 0.02, 0.03, 0.07, 0.15, 0.25)]
    assert errors == [0.174, 0.040, 0.011, 0.001, 0.002, 0.034]


def test_the_supported_range_ends_where_the_error_is_the_largest_allowed() -> None:
    profiles = Power().profiles(STEPS)
    ((low, high),) = profiles.supported(0.05)
    assert 0.01 < low < 0.02
    assert 0.25 < high < WIDEST
    for std in (low, high):
        assert profiles.combination(std).error == pytest.approx(0.05, rel=1e-3)
    assert profiles.combination(low * 0.99).error > 0.05
    assert profiles.combination(high * 1.01).error > 0.05
    assert max(profiles.combination(std).error for std in np.linspace(low, high, 50)) <= 0.05 + 1e-9


def test_ranges_in_words_are_rounded_inwards() -> None:
    assert in_words([(0.018281, 0.05), (0.1, 0.25929)]) == "0.0183 to 0.05 and 0.1 to 0.2592"
    assert in_words([(0.05001, 0.05002)]) == ""


def test_widths_far_apart_leave_a_gap() -> None:
    profiles = Profiles([9, 9], [exponent(0.02), exponent(0.2)])
    ranges = profiles.supported(0.05)
    assert len(ranges) == 2
    assert ranges[0][0] < 0.02 < ranges[0][1] < ranges[1][0] < 0.2 < ranges[1][1]


def test_more_snapshots_support_shorter_averages() -> None:
    lows = [Power(snapshots=n).profiles(STEPS).supported(0.05)[0][0] for n in (8, 32, 128)]
    assert lows == sorted(lows, reverse=True)
    assert lows[0] > 1.5 * lows[1] > 2 * lows[2]


def test_many_nearly_equal_widths_do_not_blow_up_the_weights() -> None:
    ema = Power(std=(0.05, 0.051, 0.052, 0.053, 0.1, 0.101, 0.102, 0.103), snapshots=64)
    combination = ema.profiles(5000).combination(0.02)
    assert combination.error < 0.05
    assert np.abs(combination.weights).sum() < 1e4
