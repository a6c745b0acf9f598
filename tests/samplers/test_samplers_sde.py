"""The stochastic samplers against diffusers, k-diffusion's and EDM's formulas, and exact moments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scheduler_runs import (
    LINEAR,
    SHAPE,
    THEIR_NAMES,
    difference,
    injected,
    ours,
    plan,
    prepared,
    random,
    theirs,
)
from torch import Tensor

from ddpmx.components.registry import PREDICTIONS, SAMPLERS
from ddpmx.predictions import as_prediction
from ddpmx.rows import Plan
from ddpmx.sampling.loop import sample
from ddpmx.schedules import Table
from ddpmx.testing.gaussian import denoiser

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers with NumPy 2

STEPS = 20
INDICES = [float(t) for t in range(999, -1, -50)]


# Against diffusers.


@pytest.mark.parametrize("prediction", THEIR_NAMES)
@pytest.mark.parametrize(
    ("name", "scheduler", "options", "scaled"),
    [
        ("euler_ancestral", "EulerAncestralDiscreteScheduler", {}, True),
        ("dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", {}, True),
        (
            "dpmpp_2m_sde",
            "DPMSolverMultistepScheduler",
            {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
            False,
        ),
    ],
)
def test_is_diffusers(
    name: str,
    scheduler: str,
    options: dict[str, Any],
    scaled: bool,
    prediction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same final sample with the same noise. KDPM2 also draws noise for its last step, times 0."""
    import diffusers

    if (name, prediction) in (("dpm_2_ancestral", "x_start"), ("euler_ancestral", "x_start")):
        pytest.skip("diffusers does not implement it")
    reference = getattr(diffusers, scheduler)(
        1000, prediction_type=THEIR_NAMES[prediction], timestep_spacing="trailing", **options
    )
    reference = prepared(reference, STEPS)
    denoise = denoiser(LINEAR, PREDICTIONS.build(prediction), mean=0.6)
    x = random(*SHAPE)
    mine = ours(plan(name, LINEAR, INDICES, prediction), denoise, x)
    relative = difference(mine, theirs(reference, denoise, x, monkeypatch, scaled=scaled))
    print(f"{name:20} {scheduler:32} {prediction:8} {relative:.1e}")
    assert relative < 1e-6


# Against the formulas in float64.


def marginals(indices: list[float]) -> tuple[Tensor, Tensor]:
    return LINEAR.at(torch.tensor(indices, dtype=torch.float64))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(("name", "eta"), [("dpmpp_3m", 0.0), ("dpmpp_3m_sde", 1.0), ("dpmpp_3m_sde", 0.4)])
def test_dpmpp_3m_is_k_diffusions(name: str, eta: float, published: bool) -> None:
    """k-diffusion's sample_dpmpp_3m_sde in y = x/signal, except for `full` and the second step.

    Its (published) weight of the second difference d2 is half of that in the Taylor expansion, because d2 is
    half of a second derivative. diffusers' third-order sde-dpmsolver++ cannot serve as a reference: its
    weight there is (1 − e^(−2h) − 2h)/(2h)² − 1/2, which has a wrong sign and goes to −1 instead of 0 with h.
    The second step is that of dpmpp_2m here and in diffusers, but a Taylor step in k-diffusion.
    """
    denoise = denoiser(LINEAR, PREDICTIONS.build("x_start"), mean=0.6)
    x = random(*SHAPE)
    signal, sigma = marginals(INDICES)
    n = (sigma / signal).tolist()
    full = 1.0 if published else 2.0
    y, past, hs = x / signal[0], [], []
    for i, t in enumerate(INDICES):
        x0 = denoise(y * signal[i], torch.full((len(x),), t))
        if i == len(INDICES) - 1:
            y = x0
            break
        h = math.log(n[i] / n[i + 1])
        z = h * (eta + 1)
        y = math.exp(-z) * y - math.expm1(-z) * x0
        if len(past) >= 2:
            r0, r1 = hs[-1] / h, hs[-2] / h
            d1_0, d1_1 = (x0 - past[-1]) / r0, (past[-1] - past[-2]) / r1
            d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1)
            d2 = (d1_0 - d1_1) / (r0 + r1)
            phi_2 = math.expm1(-z) / z + 1
            phi_3 = phi_2 / z - 0.5
            y = y + phi_2 * d1 - full * phi_3 * d2
        elif past:
            y = y - 0.5 * math.expm1(-z) * (x0 - past[-1]) * h / hs[-1]
        if eta:
            y = y + injected(i, SHAPE) * n[i + 1] * math.sqrt(-math.expm1(-2 * h * eta))
        past.append(x0)
        hs.append(h)
    parameters = {"published": published} | ({"eta": eta} if name == "dpmpp_3m_sde" else {})
    assert difference(ours(plan(name, LINEAR, INDICES, "x_start", **parameters), denoise, x), y) < 1e-11


@pytest.mark.parametrize("name", ["dpm_2_ancestral", "dpmpp_2s_ancestral"])
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_ancestral_is_k_diffusions(name: str, eta: float) -> None:
    """k-diffusion's ancestral dpm_2 and dpmpp_2s: a step to sigma_down, then noise of deviation sigma_up."""
    denoise = denoiser(LINEAR, PREDICTIONS.build("x_start"), mean=0.6)
    x = random(*SHAPE)
    signal, sigma = marginals(INDICES)
    n = (sigma / signal).tolist()
    fine = LINEAR.log_snr.flip(0).numpy()

    def x0_at(y: Tensor, noise: float) -> Tensor:
        t = 999 - np.interp(-2 * math.log(noise), fine, np.arange(1000))
        return denoise(y / math.sqrt(1 + noise**2), torch.full((len(y),), t, dtype=torch.float64))

    y = x / signal[0]
    for i, (here, there) in enumerate(zip(n, [*n[1:], 0.0], strict=True)):
        if there == 0:
            y = x0_at(y, here)
            break
        up = min(there, eta * math.sqrt(there**2 * (here**2 - there**2) / here**2))
        down = math.sqrt(there**2 - up**2)
        middle = math.sqrt(here * down)
        x0 = x0_at(y, here)
        inner = x0 + middle / here * (y - x0)
        x0 = x0_at(inner, middle)
        moved = (
            y + (inner - x0) / middle * (down - here)
            if name == "dpm_2_ancestral"
            else x0 + down / here * (y - x0)
        )
        y = moved + up * injected(i, SHAPE)
    assert difference(ours(plan(name, LINEAR, INDICES, "x_start", eta=eta), denoise, x), y) < 1e-9


@pytest.mark.parametrize(
    ("churn", "start"),
    [
        ({"s_churn": 0.0}, 999.0),
        ({"s_churn": 4.0}, 800.0),
        ({"s_churn": 1000.0, "s_noise": 1.003}, 700.0),
        ({"s_churn": 4.0, "s_tmin": 0.1, "s_tmax": 3.0, "s_noise": 1.01}, 999.0),
    ],
)
def test_edm_is_algorithm_2(churn: dict[str, float], start: float) -> None:
    """Karras et al. 2022, algorithm 2, with signal = 1; its noise before a step is in our previous row."""
    sigma = LINEAR.sigma_ve
    table = Table(
        torch.ones_like(sigma), sigma, lambda log_snr: (torch.ones_like(log_snr), torch.exp(-log_snr / 2))
    )
    denoise = denoiser(table, PREDICTIONS.build("x_start"), mean=0.6)
    indices = [start, *[float(t) for t in range(650, 0, -50)]]
    n = table.at(torch.tensor(indices, dtype=torch.float64))[1].tolist()
    x = n[0] * random(*SHAPE)

    def x0_at(y: Tensor, noise: float) -> Tensor:
        mean = 0.25 / (0.25 + noise**2)
        return 0.6 + mean * (y - 0.6)

    y, k = x, 0
    s_churn, s_noise = churn["s_churn"], churn.get("s_noise", 1.0)
    for here, there in zip(n, [*n[1:], 0.0], strict=True):
        gamma = (
            min(s_churn / len(n), math.sqrt(2) - 1)
            if churn.get("s_tmin", 0.0) <= here <= churn.get("s_tmax", math.inf)
            else 0.0
        )
        raised = here * (1 + gamma)
        if gamma:
            y = y + math.sqrt(raised**2 - here**2) * s_noise * injected(k, SHAPE)
            k += 1
        slope = (y - x0_at(y, raised)) / raised
        after = y + (there - raised) * slope
        if there:
            after = y + (there - raised) * (slope + (after - x0_at(after, there)) / there) / 2
        y = after
    calls = 0

    def counted(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return denoise(x, t)

    assert difference(ours(plan("edm", table, indices, "x_start", **churn), counted, x), y) < 1e-9
    assert calls == 2 * len(indices) - 1


def test_edm_stays_in_the_table() -> None:
    """A step from the last index, which has the most noise, has no churn; later ones reach it at most."""
    rows = SAMPLERS.build("edm", steps=500, s_churn=1e9).plan(LINEAR).rows
    assert rows[0].t == 999
    assert max(row.t for row in rows) == 999
    assert any(row.t % 1 for row in rows)


# Exact moments: every row is linear in x, x_0 and the noise, and for Gaussian data x_0 is linear in x.


def final_std(plan: Plan, table: Table, prediction: str = "v", std: float = 0.5) -> float:
    """The standard deviation of the final x, from its coefficients of the independent start and noises."""
    kind = as_prediction(prediction)
    size = 1 + sum(row.c_noise != 0 for row in plan)
    x, noise_index = np.zeros(size), 1
    x[0] = plan.init_scale
    history: list[np.ndarray[Any, Any]] = []
    anchor = x
    for row in plan:
        signal, sigma = table.at(torch.tensor([row.t], dtype=torch.float64))
        target_x, target_eps = kind.target(signal, sigma)
        mean = signal * std**2 / ((signal * std) ** 2 + sigma**2)
        output = (target_x * mean + target_eps * (1 - signal * mean) / sigma).item() * x
        x0 = row.x0_from_x * x + row.x0_from_output * output
        after = row.c_x * x + row.c_x0 * x0 + sum(c * m for c, m in zip(row.c_history, history, strict=False))
        if row.keep_anchor:
            anchor = x
        if row.c_anchor:
            after = after + row.c_anchor * anchor
        if row.c_noise:
            after[noise_index] += row.c_noise
            noise_index += 1
        if row.push:
            history.insert(0, row.m_x * x + row.m_x0 * x0)
        x = after
    return float(np.linalg.norm(x))


def test_moments_of_sampling_agree_with_the_rows() -> None:
    """40,000 samples of a multistep SDE sampler with 20 steps have the deviation computed from its rows."""
    sde = SAMPLERS.build("dpmpp_2m_sde", steps=20, clip=None).plan(LINEAR)
    images = sample(denoiser(LINEAR, PREDICTIONS.build("epsilon")), sde, (50, 800), seed=3)
    expected = final_std(sde, LINEAR, "epsilon")
    assert images.std().item() == pytest.approx(expected, abs=4 * expected / math.sqrt(2 * images.numel()))


@pytest.mark.parametrize(
    ("name", "parameters", "steps"),
    [
        ("euler_ancestral", {}, (50, 200, 1000)),
        ("dpm_2_ancestral", {}, (20, 50, 200)),
        ("dpmpp_2s_ancestral", {}, (20, 50, 200)),
        ("dpmpp_2m_sde", {}, (20, 50, 200)),
        ("dpmpp_3m_sde", {}, (20, 50, 200)),
        ("edm", {"s_churn": 40.0}, (20, 50, 200)),
    ],
)
def test_std_approaches_the_datas(name: str, parameters: dict[str, float], steps: tuple[int, ...]) -> None:
    """With more steps on the log-SNR grid, the deviation comes closer to the data's 0.5."""
    stds = [
        final_std(SAMPLERS.build(name, steps=count, grid="log_snr", **parameters).plan(LINEAR, "v"), LINEAR)
        for count in steps
    ]
    print(f"{name:20} std at {steps}: {[round(std, 4) for std in stds]}")
    errors = [abs(std - 0.5) for std in stds]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.005


@pytest.mark.parametrize("steps", [10, 100])
def test_euler_ancestral_is_ddpm(steps: int) -> None:
    """At eta 1 it draws from the posterior."""
    a, b = (
        SAMPLERS.build(name, steps=steps, grid="trailing").plan(LINEAR)
        for name in ("euler_ancestral", "ddpm")
    )
    for row, other in zip(a, b, strict=True):
        np.testing.assert_allclose(
            [row.c_x, row.c_x0, row.c_noise], [other.c_x, other.c_x0, other.c_noise], rtol=1e-10, atol=1e-13
        )
