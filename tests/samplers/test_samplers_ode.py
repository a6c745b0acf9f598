"""The deterministic samplers against diffusers and the papers' formulas, and their order of convergence."""

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
    ours,
    plan,
    prepared,
    random,
    states,
    theirs,
)

from ddpmx.components.registry import PREDICTIONS, SAMPLERS
from ddpmx.schedules import Table
from ddpmx.testing.gaussian import denoiser
from ddpmx.testing.mixture import exploding, order_of_convergence

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers with NumPy 2

STEPS = 20

# Our sampler and its parameters, diffusers' scheduler and its parameters, and whether its state is x/signal.
THEIRS: list[tuple[str, dict[str, Any], str, dict[str, Any], bool]] = [
    ("euler", {}, "EulerDiscreteScheduler", {}, True),
    ("heun", {}, "HeunDiscreteScheduler", {}, True),
    ("dpm_2", {}, "KDPM2DiscreteScheduler", {}, True),
    ("lms", {}, "LMSDiscreteScheduler", {}, True),
    ("euler", {}, "DPMSolverMultistepScheduler", {"solver_order": 1}, False),
    ("dpmpp_2m", {}, "DPMSolverMultistepScheduler", {"solver_order": 2}, False),
    ("dpmpp_3m", {"published": True}, "DPMSolverMultistepScheduler", {"solver_order": 3}, False),
    *[("deis", {"order": p}, "DEISMultistepScheduler", {"solver_order": p}, False) for p in (1, 2, 3)],
    *[("unipc", {"order": p}, "UniPCMultistepScheduler", {"solver_order": p}, False) for p in (1, 2, 3)],
]


@pytest.mark.parametrize("prediction", THEIR_NAMES)
@pytest.mark.parametrize(("name", "parameters", "scheduler", "options", "scaled"), THEIRS)
def test_is_diffusers(
    name: str,
    parameters: dict[str, Any],
    scheduler: str,
    options: dict[str, Any],
    scaled: bool,
    prediction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same final sample on the same trailing indices.

    KDPM2 does not support x_start; Euler and DPMSolverMultistep round to float32.
    """
    import diffusers

    if (scheduler, prediction) == ("KDPM2DiscreteScheduler", "x_start"):
        pytest.skip("diffusers does not implement it")
    reference = getattr(diffusers, scheduler)(
        1000, prediction_type=THEIR_NAMES[prediction], timestep_spacing="trailing", **options
    )
    reference = prepared(reference, STEPS)
    denoise = denoiser(LINEAR, PREDICTIONS.build(prediction), mean=0.6)
    x = random(*SHAPE)
    indices = [
        float(t)
        for t in sorted({float(t) for t in reference.timesteps} & set(range(49, 1000, 50)), reverse=True)
    ]
    assert len(indices) == STEPS
    if reference.sigmas[-1] == 0:
        mine = ours(plan(name, LINEAR, indices, prediction, **parameters), denoise, x)
    else:  # diffusers' DEIS ends at index 0, one row before the clean image
        mine = states(plan(name, LINEAR, [*indices, 0.0], prediction, **parameters), denoise, x)[-2]
    relative = difference(mine, theirs(reference, denoise, x, monkeypatch, scaled=scaled))
    print(f"{name:20} {parameters!s:20} {scheduler:32} {prediction:8} {relative:.1e}")
    assert relative < (1e-5 if name == "dpm_2" else 1e-6)


def test_dpmpp_2s_is_diffusers_at_midpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid even in log-SNR, DPMSolverSinglestep's inner point, which is on the grid, is our midpoint."""
    from diffusers import DPMSolverSinglestepScheduler

    fine = [row.t for row in SAMPLERS.build("ddim", steps=21, grid="log_snr").plan(LINEAR)]
    denoise = denoiser(LINEAR, PREDICTIONS.build("v"), mean=0.6)
    x = random(*SHAPE)
    scheduler = DPMSolverSinglestepScheduler(1000, solver_order=2, prediction_type="v_prediction")
    scheduler.alphas_cumprod = LINEAR.alpha_bar.numpy()
    scheduler.set_timesteps(21)
    scheduler.timesteps = torch.tensor(fine, dtype=torch.float64)
    scheduler.sigmas = torch.cat(
        [torch.exp(-LINEAR.log_snr_at(scheduler.timesteps) / 2), torch.zeros(1, dtype=torch.float64)]
    )
    mine = ours(plan("dpmpp_2s", LINEAR, fine[::2], "v"), denoise, x)
    assert difference(mine, theirs(scheduler, denoise, x, monkeypatch, scaled=False)) < 1e-9


def test_ipndm_is_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' IPNDM, which predicts v with signal = cos and sigma = sin, and calls sigma `betas`.

    Its own first sigma leaves no signal, so the test starts below it.
    """
    from diffusers import IPNDMScheduler

    sigma = torch.sin(torch.linspace(0.97, 0.02, 16, dtype=torch.float64) * math.pi / 2)
    table = Table((1 - sigma.square()).sqrt().flip(0), sigma.flip(0))
    denoise = denoiser(table, PREDICTIONS.build("v"), mean=0.6)
    x = random(*SHAPE)
    scheduler = IPNDMScheduler(1000)
    scheduler.set_timesteps(16)
    scheduler.betas = torch.cat([sigma, torch.zeros(1, dtype=torch.float64)])
    scheduler.alphas = (1 - scheduler.betas.square()).sqrt()
    indices = [float(t) for t in range(15, -1, -1)]
    y = x
    for index, t in zip(indices, scheduler.timesteps, strict=True):
        y = scheduler.step(denoise(y, torch.full((len(x),), index)), t, y).prev_sample
    assert difference(ours(plan("ipndm", table, indices, "v"), denoise, x), y) < 1e-9


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("euler", "FlowMatchEulerDiscreteScheduler"), ("heun", "FlowMatchHeunDiscreteScheduler")],
)
def test_rectified_flow_is_diffusers(name: str, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From pure noise with signal = 1 − t and sigma = t. Both schedulers round the state to float32."""
    import diffusers

    sigma = torch.arange(1, 1001, dtype=torch.float64) / 1000
    table = Table(1 - sigma, sigma, lambda log_snr: (torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)))
    denoise = denoiser(table, PREDICTIONS.build("velocity"), mean=0.6)
    x = random(*SHAPE)
    reference = getattr(diffusers, scheduler)(1000)
    reference.set_timesteps(28)  # sigmas 1, 0.963, … 0.001
    y = x
    for t in reference.timesteps:
        y = reference.step(denoise(y.double(), t.double().expand(len(x)).round() - 1), t, y).prev_sample
    indices = [float(t) for t in range(999, -1, -37)]
    assert difference(ours(plan(name, table, indices, "velocity"), denoise, x), y) < 1e-6


def test_euler_is_edms(monkeypatch: pytest.MonkeyPatch) -> None:
    """EDMEuler without churn, with signal = 1 and the network inside its preconditioning."""
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler()
    scheduler.set_timesteps(18)
    sigma = scheduler.sigmas[:-1].double()
    table = Table(torch.ones_like(sigma), sigma.flip(0))
    denoise = denoiser(table, PREDICTIONS.build("x_start"), mean=0.6)
    x = random(*SHAPE) * 80
    indices = [float(t) for t in range(17, -1, -1)]
    y = x
    for index, t, n in zip(indices, scheduler.timesteps, sigma, strict=True):
        scheduler.scale_model_input(y, t)
        skip, out = 0.25 / (n**2 + 0.25), n * 0.5 / (n**2 + 0.25).sqrt()
        network = (denoise(y.double(), torch.full((len(x),), index)) - skip * y) / out
        y = scheduler.step(network, t, y).prev_sample
    assert difference(ours(plan("euler", table, indices, "x_start"), denoise, x), y) < 1e-6


# Order of convergence.


ORDERS: list[tuple[str, dict[str, Any], float]] = [
    ("euler", {}, 1),
    ("ddim", {}, 1),
    ("heun", {}, 2),
    ("edm", {}, 2),
    ("dpm_2", {}, 2),
    ("dpm_2_ancestral", {"eta": 0.0}, 2),
    ("dpmpp_2s", {}, 2),
    ("dpmpp_2s_ancestral", {"eta": 0.0}, 2),
    ("dpmpp_2m", {}, 2),
    ("dpmpp_3m", {}, 3),
    ("dpmpp_3m", {"published": True}, 2),
    ("dpmpp_3m_sde", {"eta": 0.0}, 3),
    *[("deis", {"order": p}, p) for p in (1, 2, 3, 4)],
    *[("lms", {"order": p}, p) for p in (1, 2, 3, 4)],
    *[("unipc", {"order": p}, p + 1) for p in (1, 2, 3)],
    *[("ipndm", {"order": p}, min(p, 2)) for p in (1, 2, 3, 4)],
]


@pytest.mark.parametrize(("name", "parameters", "order"), ORDERS)
def test_order_of_convergence(name: str, parameters: dict[str, Any], order: float) -> None:
    """Against the exact flow of a mixture of Gaussians, on a grid even in log-SNR.

    unipc has order p + 1, because its corrector interpolates one value more than the predictor (Zhao et al.
    2023). ipndm's weights are for grids even in sigma/signal, so it has at most order 2 here. dpmpp_3m's
    first steps have lower order, whose effect vanishes only at more steps.
    """
    steps = (320, 640) if name.startswith("dpmpp_3m") else (160, 320)
    measured = order_of_convergence(SAMPLERS.build(name, **parameters), steps=steps)
    print(f"{name:20} {parameters!s:20} measured {measured:.2f}, in theory {order}")
    assert measured == pytest.approx(order, abs=0.25)


def test_ipndm_is_lms_on_an_even_grid() -> None:
    """On a grid even in sigma/signal the rows agree, and the order is 4."""
    table = exploding(4.0, 81, "sigma_ve")
    indices = [float(t) for t in range(80, -1, -1)]
    for a, b in zip(
        plan("ipndm", table, indices[:-1], "v"), plan("lms", table, indices[:-1], "v").rows[:-1], strict=False
    ):
        np.testing.assert_allclose([a.c_x, a.c_x0, *a.c_history], [b.c_x, b.c_x0, *b.c_history], rtol=1e-8)
    assert order_of_convergence(
        SAMPLERS.build("ipndm", order=4), 4.0, (80, 160), "sigma_ve"
    ) == pytest.approx(4, abs=0.25)
