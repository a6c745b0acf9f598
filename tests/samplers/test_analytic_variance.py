"""The variance `analytic` of ddpm: exact on Gaussian data, within its bounds, and only with moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sampler_tables import LINEAR, timesteps
from test_sampler_moments import stds

from ddpmx.components.registry import PREDICTIONS, SAMPLERS, SCHEDULES
from ddpmx.errors import SpecError
from ddpmx.samplers import Moments, Sampler
from ddpmx.samplers.moments import Gamma
from ddpmx.sampling.loop import sample
from ddpmx.schedules import Table
from ddpmx.testing import gaussian

V = PREDICTIONS.build("v")
COSINE = SCHEDULES.build("cosine", timesteps=1000).table()
FLOW = SCHEDULES.build("flow", timesteps=100).table()
EDM = SCHEDULES.build("edm", timesteps=100).table()


def analytic(**parameters: object) -> Sampler:
    return SAMPLERS.build("ddpm", variance="analytic", **parameters)


@pytest.mark.parametrize("table", [LINEAR, COSINE, FLOW, EDM], ids=["linear", "cosine", "flow", "edm"])
@pytest.mark.parametrize("std", [0.05, 0.5, 1.0])
def test_any_few_steps_keep_the_variance_of_gaussian_data(table: Table, std: float) -> None:
    """After each row but the last x has the exact marginal, whatever the steps; so x_0 has too, but for the
    noise that the last row does not add."""
    for steps in (2, 3, 7, 50):
        indices = np.linspace(table.timesteps - 1, 0, steps).tolist()
        plan = gaussian.planned(analytic(timesteps=indices, clip=None), table, V, std)
        last = torch.tensor(timesteps(plan), dtype=torch.float64)
        signal, sigma = (column.numpy() for column in table.at(last))
        marginal = np.hypot(signal * std, sigma)
        # the chain starts from data of unit variance at its first index
        start = plan.init_scale / marginal[0]
        if abs(start - 1) > 1e-6:
            plan = type(plan)(plan.rows, plan.clip, float(marginal[0]), plan.levels)
        found = list(stds(plan, table, "v", std))
        np.testing.assert_allclose(found[:-1], marginal[1:], rtol=1e-6)


def test_the_closed_form_is_the_variance_of_x_s_given_x_t() -> None:
    """Var(x_s | x_t) of jointly Gaussian x_s and x_t, by Schur's complement."""
    std, indices = 0.5, [900.0, 412.25, 77.0, 3.0]
    plan = gaussian.planned(analytic(timesteps=indices), LINEAR, V, std)
    signal, sigma = (column.numpy() for column in LINEAR.at(torch.tensor(indices, dtype=torch.float64)))
    for i, row in enumerate(plan.rows[:-1]):
        ratio = signal[i] / signal[i + 1]
        within = (signal[i + 1] * std) ** 2 + sigma[i + 1] ** 2
        total = (signal[i] * std) ** 2 + sigma[i] ** 2
        assert row.c_noise**2 == pytest.approx(within - (ratio * within) ** 2 / total, rel=1e-9)


def with_gamma(value: float, error: float = 0.0) -> Moments:
    return Moments(32, 0.4, {t: Gamma(value, error) for t in (800.0, 400.0, 10.0)})


@pytest.mark.parametrize(("gamma", "like"), [(1.0, "posterior"), (1.7, "posterior")])
def test_the_variance_is_never_below_the_posteriors(gamma: float, like: str) -> None:
    indices = [800.0, 400.0, 10.0]
    plan = analytic(timesteps=indices).plan(LINEAR, "v", moments=with_gamma(gamma))
    same = SAMPLERS.build("ddpm", variance=like, timesteps=indices).plan(LINEAR, "v")
    assert [row.c_noise for row in plan] == pytest.approx([row.c_noise for row in same], rel=1e-12)


def test_the_variance_is_at_most_that_of_the_best_linear_estimate() -> None:
    plan = analytic(timesteps=[800, 400, 10]).plan(LINEAR, "v", moments=with_gamma(-5.0))
    pairs = zip(plan.rows, plan.rows[1:], plan.levels, plan.levels[1:], strict=False)
    for row, _, here, there in pairs:
        q = (here[0] * there[1] / (there[0] * here[1])) ** 2
        most = 1 / (1 / 0.4 + (here[0] / here[1]) ** 2)
        expected = there[1] ** 2 * (1 - q) + (there[0] * (1 - q)) ** 2 * most
        assert row.c_noise**2 == pytest.approx(expected)


def test_pure_noise_leaves_x_0_with_the_variance_of_the_data() -> None:
    table = SCHEDULES.build("linear", timesteps=100, zero_terminal_snr=True).table()
    moments = Moments(32, 0.4, {99.0: Gamma(1.0, 0.0), 50.0: Gamma(0.9, 0.0)})
    row = analytic(timesteps=[99, 50]).plan(table, "v", moments=moments).rows[0]
    assert row.c_noise == pytest.approx(
        math.sqrt(0.4 * float(table.signal[50]) ** 2 + float(table.sigma[50]) ** 2)
    )


def test_the_error_of_a_variance_follows_from_that_of_gamma() -> None:
    sampler, small = analytic(timesteps=[800, 400, 10]), 1e-6
    signal, sigma = LINEAR.at(torch.tensor([800.0, 400.0, 10.0], dtype=torch.float64))
    exact = sigma.square() / ((signal / 2).square() + sigma.square())

    def moments(shift: float) -> Moments:
        values = zip((800.0, 400.0, 10.0), exact.tolist(), strict=True)
        return Moments(32, 0.4, {t: Gamma(value + shift, small) for t, value in values})

    plan = sampler.plan(LINEAR, "v", moments=moments(0))
    shifted = sampler.plan(LINEAR, "v", moments=moments(-small))
    changes = [b.c_noise**2 / a.c_noise**2 - 1 for a, b in zip(plan.rows[:-1], shifted.rows, strict=False)]
    assert plan.error == pytest.approx(max(changes), rel=1e-4)
    assert SAMPLERS.build("ddpm", timesteps=[800, 400]).plan(LINEAR, "v").error is None


def test_a_plan_without_moments_counts_but_does_not_run() -> None:
    plan = analytic(steps=5).plan(LINEAR, "v")
    assert (plan.evaluations, plan.lacks_moments) == (5, True)
    with pytest.raises(ValueError, match="lacks the network's moments"):
        sample(lambda x, t: x, plan, (1, 2))


def test_moments_at_other_indices_are_refused() -> None:
    with pytest.raises(SpecError, match="the moments of the network lack index 999"):
        analytic(steps=5).plan(LINEAR, "v", moments=with_gamma(1.0))


def test_moments_stay_out_of_the_sampler_itself() -> None:
    """They belong to a network's weights, so a sampler is the same before and after."""
    sampler = analytic(timesteps=[800, 400, 10])
    sampler.plan(LINEAR, "v", moments=with_gamma(0.5))
    assert sampler.moments is None
    assert sampler == analytic(timesteps=[800, 400, 10])
