"""Power-function averages: their weights, which snapshots are kept, and the refusal of bad widths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ddpmx import EMAS, SpecError
from ddpmx.emas.power import Power
from ddpmx.emas.profile import NARROWEST, WIDEST, exponent, width

WIDTHS = [NARROWEST, 0.01, 0.05, 0.1, 0.2, 0.28, 0.2886]


@pytest.mark.parametrize("std", WIDTHS)
def test_the_exponent_gives_its_width_which_is_the_profiles_standard_deviation(std: float) -> None:
    gamma = exponent(std)
    assert width(gamma) == pytest.approx(std, rel=1e-9)
    # moments of p(τ) = (γ + 1)·τ^γ on [0, 1]: E[τ] = (γ + 1)/(γ + 2), E[τ²] = (γ + 1)/(γ + 3)
    variance = (gamma + 1) / (gamma + 3) - ((gamma + 1) / (gamma + 2)) ** 2
    assert np.sqrt(variance) == pytest.approx(std, rel=1e-6)


def test_all_steps_count_alike_at_the_widest() -> None:
    assert exponent(WIDEST) == pytest.approx(0, abs=1e-6)
    assert width(0.0) == pytest.approx(WIDEST)


@pytest.mark.parametrize("std", [0.01, 0.1, 0.28])
def test_an_average_weights_each_step_by_the_integral_of_its_profile(std: float) -> None:
    steps = 300
    weights = np.zeros(steps + 1)
    weights[0] = 1.0  # the initial weights
    for step in range(1, steps + 1):
        (decay,) = Power(std=(std,)).decays(step)
        weights *= decay
        weights[step] += 1 - decay
    t = np.arange(steps + 1) / steps
    integral = t ** (exponent(std) + 1)  # of the profile up to each step
    assert weights[0] == 0
    np.testing.assert_allclose(weights[1:], np.diff(integral), rtol=1e-9, atol=1e-300)


def test_the_widest_average_is_the_one_that_is_used() -> None:
    decays = Power(std=(0.05, 0.1)).decays(100)
    assert decays == pytest.approx([0.99 ** (exponent(0.1) + 1), 0.99 ** (exponent(0.05) + 1)])


@pytest.mark.parametrize("snapshots", [2, 3, 8, 32])
def test_the_kept_snapshots_are_evenly_spaced_and_only_ever_thinned(snapshots: int) -> None:
    ema, present = Power(snapshots=snapshots), set[int]()
    for step in range(1, 50 * snapshots):
        kept = set(ema.kept(step))
        assert kept <= present | {step}  # what is kept now was never deleted before
        present = kept
        assert len(kept) <= snapshots
        assert step < snapshots or 2 * len(kept) >= snapshots
        assert len({b - a for a, b in pairwise(sorted({0} | kept))}) == 1
    assert list(Power(snapshots=4).kept(100)) == [32, 64, 96]


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"std": ()}, "std", "at least 1 item"),
        ({"std": tuple(0.01 * k for k in range(1, 10))}, "std", "at most 8 items"),
        ({"std": (0.1, 0.05)}, "std", "should ascend, without repetitions"),
        ({"std": (0.1, 0.1)}, "std", "should ascend, without repetitions"),
        ({"std": (0.05, 0.3)}, "std.1", "should be less than 0.288675"),
        ({"std": (0.0, 0.1)}, "std.0", "should be greater than or equal to 0.001, not 0.0"),
        ({"std": (-0.1,)}, "std.0", "should be greater than or equal to 0.001"),
        ({"std": (float("nan"),)}, "std.0", "finite number"),
        ({"std": 0.1}, "std", "should be a list, not 0.1; did you mean [0.1]?"),
        ({"snapshots": 1}, "snapshots", "should be greater than or equal to 2, not 1"),
        ({"snapshots": 257}, "snapshots", "should be less than or equal to 256, not 257"),
        ({"decay": 0.9}, "decay", "unknown key"),
    ],
)
def test_bad_parameters_are_refused_at_their_field(
    parameters: dict[str, object], field: str, message: str
) -> None:
    with pytest.raises(SpecError) as error:
        EMAS.build("power", **parameters)
    assert error.value.field == field
    assert message in error.value.message


def test_an_average_of_less_than_a_step_is_noted() -> None:
    assert "width 0.05 covers 0.5 of the run's 10 steps" in Power().note(10)
    assert Power().note(1000) == ""
