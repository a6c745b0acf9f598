"""The built-in schedules against the papers' formulas, diffusers and 50 digits."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import torch
from listed_schedules import BUILT_IN, diffusers_betas, family

from ddpmx.components.registry import SCHEDULES
from ddpmx.schedules import Schedule

DEFINED_BY_BETA = [name for name in BUILT_IN if SCHEDULES.get(name).beta is not Schedule.beta]


def paper_betas(name: str, timesteps: int) -> np.ndarray:
    """β by the papers' formulas, in numpy, with t counted from 1 as in the papers."""
    t = np.arange(1, timesteps + 1)
    fraction = (t - 1) / (timesteps - 1)
    if name == "linear":
        return 1e-4 + fraction * (0.02 - 1e-4)
    if name == "quadratic":
        return (np.sqrt(1e-4) + fraction * (np.sqrt(0.02) - np.sqrt(1e-4))) ** 2
    if name == "scaled_linear":
        return (np.sqrt(0.00085) + fraction * (np.sqrt(0.012) - np.sqrt(0.00085))) ** 2
    if name == "exponential":
        return 1 - np.exp(-12 * t / timesteps) / np.exp(-12 * (t - 1) / timesteps)
    if name == "sigmoid":
        return 1e-4 + (0.02 - 1e-4) / (1 + np.exp(-(-6 + 12 * fraction)))
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def test_the_registered_names() -> None:
    betas = ["linear", "scaled_linear", "quadratic", "cosine", "sigmoid", "exponential"]
    others = ["sigmoid_alpha_bar", "laplace", "linear_log_snr", "edm", "flow"]
    assert sorted(BUILT_IN) == sorted([*betas, *others])
    assert sorted(DEFINED_BY_BETA) == sorted(betas)
    assert all(SCHEDULES.get(name).paper for name in BUILT_IN)


@pytest.mark.parametrize("timesteps", [100, 300, 1000])
@pytest.mark.parametrize("name", DEFINED_BY_BETA)
def test_betas_are_the_papers(name: str, timesteps: int) -> None:
    beta = SCHEDULES.build(name, timesteps=timesteps).table().beta.numpy()
    rtol = 1e-11 if name in ("cosine", "exponential") else 1e-12  # the formula itself loses digits there
    np.testing.assert_allclose(beta, paper_betas(name, timesteps), rtol=rtol)


@pytest.mark.parametrize(
    ("schedule", "config"),
    [
        ({"name": "linear"}, {"beta_schedule": "linear"}),
        (
            {"name": "linear", "beta_start": 1e-3, "beta_end": 0.1},
            {"beta_schedule": "linear", "beta_start": 1e-3, "beta_end": 0.1},
        ),
        ({"name": "quadratic"}, {"beta_schedule": "scaled_linear"}),
        (
            {"name": "scaled_linear"},
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        ({"name": "cosine"}, {"beta_schedule": "squaredcos_cap_v2"}),
        ({"name": "sigmoid"}, {"beta_schedule": "sigmoid"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())),
)
def test_tables_are_diffusers(schedule: dict[str, Any], config: dict[str, Any]) -> None:
    beta, alpha_bar = diffusers_betas(num_train_timesteps=1000, **config)
    table = SCHEDULES.build(timesteps=1000, **schedule).table()
    torch.testing.assert_close(table.beta.float(), beta, rtol=1e-5, atol=0)
    # diffusers multiplies in float32
    torch.testing.assert_close(table.alpha_bar.float(), alpha_bar, rtol=2e-4, atol=0)


def test_exponential_is_diffusers() -> None:
    """The β of HeunDiscreteScheduler's 'exp', by its function: constructing the scheduler warns."""
    from diffusers.schedulers.scheduling_heun_discrete import betas_for_alpha_bar

    beta = betas_for_alpha_bar(1000, alpha_transform_type="exp")
    torch.testing.assert_close(
        SCHEDULES.build("exponential", timesteps=1000).table().beta.float(), beta, rtol=1e-5, atol=0
    )


def test_laplace_is_diffusers_once_the_root_is_undone() -> None:
    """diffusers uses √ᾱ in place of ᾱ, divided by its value at t = 0, and adds 1e-6 inside the logarithm.

    Its t with 400 timesteps are ours with 200, at every second index.
    """
    _, root = diffusers_betas(num_train_timesteps=400, beta_schedule="laplace")
    at_zero = 1e3 / (1 + 1e3)  # SNR at t = 0 is (1e-6)^(−½)
    table = SCHEDULES.build("laplace", timesteps=200).table()
    torch.testing.assert_close(table.alpha_bar.float(), root[::2].square() * at_zero, rtol=1.5e-4, atol=0)


def test_laplace_is_that_distribution() -> None:
    """The distribution's probability of a log-SNR above that of index i is (i + ½)/T."""
    from scipy.stats import laplace

    for mu, b in ((0.0, 0.5), (-1.5, 2.0)):
        log_snr = SCHEDULES.build("laplace", timesteps=101, mu=mu, b=b).table().log_snr.numpy()
        np.testing.assert_allclose(laplace.sf(log_snr, mu, b), (np.arange(101) + 0.5) / 101, rtol=1e-12)


@pytest.mark.parametrize(("start", "end", "tau"), [(-3.0, 3.0, 1.0), (0.0, 3.0, 0.7), (-3.0, 1.0, 1.5)])
def test_sigmoid_alpha_bar_is_the_papers(start: float, end: float, tau: float) -> None:
    from scipy.special import expit

    t = np.arange(1, 301) / 300
    first, last = expit(start / tau), expit(end / tau)
    gamma = ((last - expit((t * (end - start) + start) / tau)) / (last - first)).clip(min=1e-9)
    table = SCHEDULES.build("sigmoid_alpha_bar", timesteps=300, start=start, end=end, tau=tau).table()
    np.testing.assert_allclose(table.alpha_bar.numpy(), gamma, rtol=1e-11)
    assert table.alpha_bar[-1].item() == pytest.approx(1e-9, rel=1e-12)
    pure = SCHEDULES.build(
        "sigmoid_alpha_bar", timesteps=300, start=start, end=end, tau=tau, clip_min=0.0
    ).table()
    assert (pure.signal[-1], pure.sigma[-1]) == (0, 1)
    torch.testing.assert_close(pure.log_snr[:-1], table.log_snr[:-1], rtol=0, atol=0)


def test_sigmoid_alpha_bar_does_not_overflow_or_cancel() -> None:
    """At tau 0.01 both ends of the sigmoid round to 0 or 1 in float64; with 400 digits they do not."""
    table = SCHEDULES.build("sigmoid_alpha_bar", timesteps=50, tau=0.01, clip_min=0.0).table()
    with localcontext() as context:
        context.prec = 400

        def sigmoid(x: Decimal) -> Decimal:
            return 1 / (1 + (-x).exp())

        for index in (0, 10, 24, 40, 48):
            here = sigmoid(Decimal(100) * (Decimal(6) * (index + 1) / 50 - 3))
            first, last = sigmoid(Decimal(-300)), sigmoid(Decimal(300))
            log_snr = float(((last - here) / (here - first)).ln())
            assert table.log_snr[index].item() == pytest.approx(log_snr, rel=1e-12, abs=1e-12)


def test_linear_log_snr_is_linear() -> None:
    table = SCHEDULES.build("linear_log_snr", timesteps=101, log_snr_max=10.0, log_snr_min=-15.0).table()
    np.testing.assert_allclose(table.log_snr.numpy(), 10 - 0.25 * np.arange(101), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(
        table.alpha_bar.numpy(), 1 / (1 + np.exp(-10 + 0.25 * np.arange(101))), rtol=1e-13
    )


@pytest.mark.parametrize("parameters", [{}, {"sigma_min": 0.01, "sigma_max": 14.0, "rho": 3.0}])
def test_edm_sigmas_are_diffusers(parameters: dict[str, float]) -> None:
    from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

    table = SCHEDULES.build("edm", timesteps=200, **parameters).table()
    euler = EDMEulerScheduler(**parameters)
    euler.set_timesteps(200)
    for sigmas in (
        EDMDPMSolverMultistepScheduler(num_train_timesteps=200, **parameters).sigmas,
        euler.sigmas,
    ):
        torch.testing.assert_close(table.sigma.float(), sigmas[:-1].flip(0), rtol=2e-5, atol=0)
    assert torch.equal(table.signal, torch.ones(200, dtype=torch.float64))
    assert torch.equal(table.sigma_ve, table.sigma)
    i = np.arange(200)
    low, high = parameters.get("sigma_min", 0.002), parameters.get("sigma_max", 80.0)
    rho = parameters.get("rho", 7.0)
    formula = (high ** (1 / rho) + i / 199 * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(table.sigma.flip(0).numpy(), formula, rtol=1e-13)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_flow_sigmas_are_diffusers(shift: float) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    table = SCHEDULES.build("flow", timesteps=250, shift=shift).table()
    sigmas = FlowMatchEulerDiscreteScheduler(num_train_timesteps=250, shift=shift).sigmas
    torch.testing.assert_close(table.sigma.float(), sigmas.flip(0), rtol=1e-6, atol=0)
    t = np.arange(1, 251) / 250
    u = shift * t / (1 + (shift - 1) * t)
    np.testing.assert_allclose(table.sigma.numpy(), u, rtol=1e-14)
    np.testing.assert_allclose(table.signal.numpy(), 1 - u, rtol=1e-13, atol=1e-16)
    assert (table.signal[-1], table.sigma[-1]) == (0, 1)


@pytest.mark.parametrize("name", DEFINED_BY_BETA)
def test_table_is_exact(name: str) -> None:
    """signal² = Π(1 − β) and sigma² = 1 − Π(1 − β) in 50 digits, without cancellation at either end."""
    schedule = SCHEDULES.build(name, timesteps=500)
    table, alpha_bar = schedule.table(), Decimal(1)
    signal2, sigma2 = [], []
    with localcontext() as context:
        context.prec = 50
        for beta in schedule.beta().tolist():
            alpha_bar *= 1 - Decimal(beta)
            signal2.append(float(alpha_bar))
            sigma2.append(float(1 - alpha_bar))
    rtol = (
        2e-13 if name == "exponential" else 1e-14
    )  # its equal terms all round the same way, so errors add up
    np.testing.assert_allclose(table.signal.square().numpy(), signal2, rtol=rtol)
    np.testing.assert_allclose(table.sigma.square().numpy(), sigma2, rtol=1e-14)
    np.testing.assert_allclose(table.sigma_ve.square().numpy(), np.divide(sigma2, signal2), rtol=rtol)
    np.testing.assert_allclose(table.beta.numpy(), schedule.beta().numpy(), rtol=1e-12)


ENDS = {  # closed forms of the first and last log-SNR at T = 10
    "sigmoid_alpha_bar": (None, math.log(1e-9 / (1 - 1e-9))),
    "laplace": (-0.5 * math.log(0.1), 0.5 * math.log(0.1)),
    "linear_log_snr": (13.3, -5.0),
    "edm": (-2 * math.log(0.002), -2 * math.log(80)),
    "flow": (2 * math.log(9), -math.inf),
    "exponential": (-math.log(math.expm1(1.2)), -math.log(math.expm1(12))),
}


@pytest.mark.parametrize(("name", "ends"), ENDS.items())
def test_ends(name: str, ends: tuple[float | None, float]) -> None:
    log_snr = SCHEDULES.build(name, timesteps=10).table().log_snr
    for value, expected in zip(log_snr[[0, -1]].tolist(), ends, strict=True):
        assert expected is None or value == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("timesteps", [1, 2, 3, 10, 1000, 100_000])
@pytest.mark.parametrize("name", BUILT_IN)
def test_built_ins_make_a_table_at_any_length(name: str, timesteps: int) -> None:
    schedule = SCHEDULES.build(name, timesteps=timesteps)
    table = schedule.table()
    assert table.timesteps == timesteps
    assert bool((table.log_snr.diff() < 0).all())
    assert bool(table.log_snr[:-1].isfinite().all())
    torch.testing.assert_close(
        family(name, table.signal, table.sigma),
        torch.ones(timesteps, dtype=torch.float64),
        rtol=1e-14,
        atol=0,
    )
    if name in DEFINED_BY_BETA and timesteps <= 1000:  # beyond that, log ᾱ = −1000 leaves β too few digits
        torch.testing.assert_close(table.beta, schedule.beta(), rtol=1e-12, atol=0)


def test_cosine_clips_beta() -> None:
    table = SCHEDULES.build("cosine", timesteps=300, beta_min=1e-2, beta_max=0.5).table()
    plain = paper_betas("cosine", 300)
    np.testing.assert_allclose(table.beta.numpy(), plain.clip(1e-2, 0.5), rtol=1e-11)
    assert plain.min() < 1e-2
    assert plain.max() > 0.5


def test_cosine_first_beta_is_positive_without_offset() -> None:
    """With s = 0 and T = 100,000 it is sin²(π/2T) = 2.5e-10, of which 1 − cos² would keep 6 digits."""
    beta = SCHEDULES.build("cosine", timesteps=100_000, s=0.0).table().beta
    assert beta[0].item() == pytest.approx(math.sin(math.pi / 2e5) ** 2, rel=1e-12)


def test_rescale_ends_as_noisy_as_a_thousand_steps() -> None:
    long = SCHEDULES.build("linear", timesteps=1000).table()
    short = SCHEDULES.build("linear", timesteps=100, rescale=True).table()
    torch.testing.assert_close(short.beta, torch.linspace(1e-3, 0.2, 100, dtype=torch.float64))
    assert short.log_snr[-1].item() == pytest.approx(long.log_snr[-1].item(), rel=0.1)
    assert SCHEDULES.build("linear", timesteps=100).table().signal[-1] > 0.6
