"""Exact moments of ddpm and ddim on Gaussian data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sampler_tables import LINEAR, timesteps

from ddpmx.components.registry import SAMPLERS, SCHEDULES
from ddpmx.predictions import as_prediction
from ddpmx.rows import Plan
from ddpmx.schedules import Table
from ddpmx.testing import gaussian


def stds(plan: Plan, table: Table, prediction: str, std: float) -> Iterator[float]:
    """The exact standard deviation of x after each row; with a Gaussian denoiser a row is linear in x."""
    signal, sigma = table.at(torch.tensor(timesteps(plan), dtype=torch.float64))
    target_x, target_eps = as_prediction(prediction).target(signal, sigma)
    mean = signal * std**2 / ((signal * std) ** 2 + sigma**2)  # E[x_0|x_t] = mean·x_t
    output = target_x * mean + target_eps * (1 - signal * mean) / sigma
    variance = plan.init_scale**2
    for row, factor in zip(plan, output.tolist(), strict=True):
        gain = row.c_x + row.c_x0 * (row.x0_from_x + row.x0_from_output * factor)
        variance = gain**2 * variance + row.c_noise**2
        yield math.sqrt(variance)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("ddpm", {"variance": "posterior"}, {1000: 0.4961, 50: 0.4432, 10: 0.3228}),
        ("ddpm", {"variance": "beta"}, {1000: 0.5008, 50: 0.5176, 10: 0.5988}),
        ("ddpm", {"variance": "analytic"}, {1000: 0.4999, 50: 0.4999, 10: 0.4999}),
        ("ddim", {"eta": 0.0}, {1000: 0.4985, 50: 0.4719, 10: 0.3616}),
    ],
)
def test_moments_of_gaussian_data(
    name: str, parameters: dict[str, object], expected: dict[int, float], prediction: str
) -> None:
    """The values computed for data of standard deviation 0.5 on the linspace grid."""
    for steps, std in expected.items():
        sampler = SAMPLERS.build(name, **parameters, steps=steps, grid="linspace")
        plan = gaussian.planned(sampler, LINEAR, as_prediction(prediction))
        *_, final = stds(plan, LINEAR, prediction, 0.5)
        assert final == pytest.approx(std, abs=5e-5)


@pytest.mark.parametrize(("variance", "std"), [("posterior", 1e-6), ("beta", 1.0)])
def test_each_variance_is_exact_for_its_data(variance: str, std: float) -> None:
    """Ho et al. §3.2: β is optimal for data of unit variance and β̃ for a single point, with any steps."""
    table = SCHEDULES.build("cosine", timesteps=1000).table()
    for steps in (1000, 20, 3):
        plan = SAMPLERS.build("ddpm", variance=variance, steps=steps).plan(table, "v")
        indices = np.array(timesteps(plan)[1:], dtype=int)
        marginal = np.hypot(table.signal.numpy()[indices] * std, table.sigma.numpy()[indices])
        np.testing.assert_allclose(list(stds(plan, table, "v", std))[:-1], marginal, rtol=1e-4)
