"""Schedules against the papers' formulas, diffusers and 50 digits; their options, limits and errors."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpmx.components.registry import SCHEDULES, TIMES
from ddpmx.errors import SpecError
from ddpmx.schedules import Schedule, Table

LISTED = "betas"  # its numbers are in the spec
BUILT_IN = [
    name
    for name in SCHEDULES.names()
    if SCHEDULES.get(name).__module__.startswith("ddpmx.") and name != LISTED
]
NOT_VARIANCE_PRESERVING = ["edm", "flow"]
VARIANCE_PRESERVING = [name for name in BUILT_IN if name not in NOT_VARIANCE_PRESERVING]
DEFINED_BY_BETA = [name for name in BUILT_IN if SCHEDULES.get(name).beta is not Schedule.beta]


class GivenLogSNR(Schedule):
    """A schedule with the log-SNR that the test lists."""

    component_name: ClassVar[str] = "given"
    values: tuple[float, ...]

    def log_snr(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


class GivenBeta(Schedule):
    """A schedule with the β that the test lists."""

    component_name: ClassVar[str] = "given_beta"
    values: tuple[float, ...]

    def beta(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


class VarianceExploding(GivenLogSNR):
    """signal = 1, any sigma."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)


class Flow(GivenLogSNR):
    """signal + sigma = 1."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)


def family(name: str, signal: Tensor, sigma: Tensor) -> Tensor:
    """The expression in signal and sigma that is 1 at every index of the schedule `name`."""
    return {"flow": signal + sigma, "edm": signal}.get(name, signal.square() + sigma.square())


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


def diffusers_betas(**config: Any) -> tuple[Tensor, Tensor]:
    """diffusers' (betas, alphas_cumprod), float32."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**config)
    return scheduler.betas, scheduler.alphas_cumprod


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


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_zero_terminal_snr_is_the_papers(name: str) -> None:
    """The paper's algorithm 1 in 50 digits, applied to the plain table: neither end loses digits."""
    plain = SCHEDULES.build(name, timesteps=1000).table()
    table = SCHEDULES.build(name, timesteps=1000, zero_terminal_snr=True).table()
    assert (table.signal[-1], table.sigma[-1], table.log_snr[-1], table.beta[-1]) == (0, 1, -math.inf, 1)
    assert table.log_snr[0].item() == pytest.approx(plain.log_snr[0].item(), rel=1e-13)
    with localcontext() as context:
        context.prec = 50
        snr = [Decimal(value).exp() for value in plain.log_snr.tolist()]
        signal = [(value / (1 + value)).sqrt() for value in snr]
        for index in (0, 1, 10, 500, 990, 998):
            rescaled = signal[0] * (signal[index] - signal[-1]) / (signal[0] - signal[-1])
            assert table.signal[index].item() == pytest.approx(float(rescaled), rel=1e-12)
            assert table.sigma[index].item() == pytest.approx(float((1 - rescaled**2).sqrt()), rel=1e-12)


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_zero_terminal_snr_is_diffusers(name: str) -> None:
    from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr

    plain = SCHEDULES.build(name, timesteps=200).table()
    table = SCHEDULES.build(name, timesteps=200, zero_terminal_snr=True).table()
    torch.testing.assert_close(table.beta, rescale_zero_terminal_snr(plain.beta), rtol=1e-8, atol=0)


def test_zero_terminal_snr_is_diffusers_scheduler() -> None:
    for name, theirs in (("linear", "linear"), ("cosine", "squaredcos_cap_v2")):
        _, alpha_bar = diffusers_betas(
            num_train_timesteps=1000, beta_schedule=theirs, rescale_betas_zero_snr=True
        )
        table = SCHEDULES.build(name, timesteps=1000, zero_terminal_snr=True).table()
        torch.testing.assert_close(table.alpha_bar.float(), alpha_bar, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("shift", [0.25, 2.0])
@pytest.mark.parametrize("name", BUILT_IN)
def test_snr_shift_shifts_log_snr_within_the_family(name: str, shift: float) -> None:
    plain = SCHEDULES.build(name, timesteps=100).table()
    table = SCHEDULES.build(name, timesteps=100, snr_shift=shift).table()
    torch.testing.assert_close(table.log_snr, plain.log_snr + 2 * math.log(shift), rtol=1e-13, atol=1e-13)
    if name == "edm":
        torch.testing.assert_close(table.sigma, plain.sigma / shift, rtol=1e-13, atol=0)
    for values in ((table.signal, table.sigma), table.at(torch.tensor([20.5], dtype=torch.float64))):
        one = family(name, *values)
        torch.testing.assert_close(one, torch.ones_like(one), rtol=1e-14, atol=0)


def test_the_shift_of_flow_is_an_snr_shift() -> None:
    shifted, other = (
        SCHEDULES.build("flow", timesteps=50, **parameters).table()
        for parameters in ({"shift": 4.0}, {"snr_shift": 0.25})
    )
    torch.testing.assert_close(shifted.sigma, other.sigma, rtol=1e-14, atol=0)


def test_the_shift_comes_after_the_rescaling() -> None:
    rescaled = SCHEDULES.build("linear", timesteps=100, zero_terminal_snr=True).table()
    both = SCHEDULES.build("linear", timesteps=100, zero_terminal_snr=True, snr_shift=0.5).table()
    torch.testing.assert_close(both.log_snr, rescaled.log_snr + 2 * math.log(0.5), rtol=1e-13, atol=1e-13)
    assert both.signal[-1] == 0


def test_a_plugin_has_the_options() -> None:
    table = GivenLogSNR(timesteps=3, values=(4.0, 1.0, -3.0), zero_terminal_snr=True, snr_shift=2.0).table()
    signal = 1 / np.sqrt(1 + np.exp([-4.0, -1.0, 3.0]))
    signal = signal[0] * (signal - signal[2]) / (signal[0] - signal[2])
    snr = signal[:2] ** 2 / (1 - signal[:2] ** 2) * 4
    np.testing.assert_allclose(table.alpha_bar.numpy(), [*(snr / (1 + snr)), 0.0], rtol=1e-12)


def test_a_terminal_snr_of_zero_is_unchanged() -> None:
    plain, rescaled = (
        GivenBeta(timesteps=3, values=(0.1, 0.2, 1.0), zero_terminal_snr=zero).table()
        for zero in (False, True)
    )
    torch.testing.assert_close(rescaled.alpha_bar, plain.alpha_bar, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("schedule", "field", "message"),
    [
        (SCHEDULES.build("edm", timesteps=9, zero_terminal_snr=True), "zero_terminal_snr", "'edm'"),
        (SCHEDULES.build("flow", timesteps=9, zero_terminal_snr=True), "zero_terminal_snr", "'flow'"),
        (SCHEDULES.build("linear", timesteps=1, zero_terminal_snr=True), "zero_terminal_snr", "1 timestep"),
        (
            SCHEDULES.build("edm", timesteps=9, sigma_min=3.0, sigma_max=2.0),
            "sigma_min",
            "less than sigma_max, 2, not 3",
        ),
        (
            SCHEDULES.build("edm", timesteps=1, sigma_min=2.0, sigma_max=2.0),
            "sigma_min",
            "less than sigma_max",
        ),
        (
            SCHEDULES.build("linear_log_snr", timesteps=1, log_snr_min=2.0, log_snr_max=1.0),
            "log_snr_min",
            "less than log_snr_max",
        ),
        (SCHEDULES.build("sigmoid_alpha_bar", timesteps=9, start=3.0, end=-3.0), "start", "less than end"),
        (SCHEDULES.build("cosine", timesteps=9, beta_min=0.5, beta_max=0.4), "beta_min", "at most beta_max"),
    ],
)
def test_invalid_combinations_are_refused_by_field(schedule: Schedule, field: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        schedule.table()
    assert error.value.field == field


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *((name, "snr_shift", 0.0) for name in BUILT_IN),
        ("scaled_linear", "beta_end", 1.5),
        ("exponential", "rate", 0.0),
        ("laplace", "b", 0.0),
        ("sigmoid_alpha_bar", "tau", -1.0),
        ("sigmoid_alpha_bar", "clip_min", 1.0),
        ("edm", "rho", 0.5),
        ("edm", "sigma_min", 0.0),
        ("flow", "shift", 0.0),
        ("linear", "zero_terminal_snr", 1),
    ],
)
def test_values_out_of_range_are_refused_by_field(name: str, field: str, value: object) -> None:
    with pytest.raises(SpecError) as error:
        SCHEDULES.build(name, timesteps=10, **{field: value})
    assert error.value.field == field


def test_an_increasing_schedule_is_not_rescued_by_rescaling() -> None:
    with pytest.raises(SpecError, match="at index 1"):
        GivenLogSNR(timesteps=3, values=(-1.0, 0.0, 1.0), zero_terminal_snr=True).table()


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


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (SCHEDULES.build("linear", timesteps=10, rescale=True), "'linear' has β = 1.11556 at index 5"),
        (
            SCHEDULES.build("linear", timesteps=100_000, beta_end=0.9),
            "'linear' should lose signal.* at index",
        ),
        (
            GivenLogSNR(timesteps=3, values=(1.0, 1.0, 0.0)),
            "'given' should lose signal.* from 1 to 1 at index 1",
        ),
        (GivenBeta(timesteps=3, values=(0.1, 1.0, 0.1)), "from -inf to -inf at index 2"),
        (GivenBeta(timesteps=3, values=(0.1, 0.0, 0.1)), "'given_beta' has β = 0 at index 1"),
        (GivenBeta(timesteps=2, values=(0.1, -0.1)), "'given_beta' has β = -0.1 at index 1"),
        (
            GivenLogSNR(timesteps=2, values=(1.0, 0.0, -1.0)),
            r"log_snr\(\) of the schedule 'given' should return float64 \[2\] on cpu, not float64 \[3\]",
        ),
        (SCHEDULES.base(timesteps=2), "neither beta"),
        (
            SCHEDULES.build("sigmoid_alpha_bar", timesteps=1000, tau=0.1),
            "'sigmoid_alpha_bar' should lose signal",
        ),
        (SCHEDULES.build("exponential", timesteps=2, rate=1e3), "from -inf to -inf at index 1"),
    ],
)
def test_an_invalid_schedule_is_refused(schedule: Schedule, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        schedule.table()


@pytest.mark.parametrize(
    "value", [torch.zeros(2), [1.0, 0.0], torch.tensor([math.nan, 0.0], dtype=torch.float64)]
)
def test_a_plugins_result_is_checked(value: object) -> None:
    class Plugin(Schedule):
        def log_snr(self) -> Tensor:
            return value  # type: ignore[return-value]

    with pytest.raises(SpecError):
        Plugin(timesteps=2).table()


@pytest.mark.parametrize("timesteps", [0, -1, 100_001, 10**15, 10.0, "500", True])
def test_timesteps_out_of_range(timesteps: object) -> None:
    with pytest.raises(SpecError) as error:
        SCHEDULES.build("linear", timesteps=timesteps)
    assert error.value.field == "timesteps"


def test_between_indices_log_snr_is_linear() -> None:
    table = SCHEDULES.build("cosine", timesteps=50).table()
    t = torch.tensor([0.0, 3.25, 10.0, 48.5, 49.0], dtype=torch.float64)
    signal, sigma = table.at(t)
    expected = np.interp(t.numpy(), np.arange(50), table.log_snr.numpy())
    np.testing.assert_allclose((2 * torch.log(signal / sigma)).numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose((signal**2 + sigma**2).numpy(), 1, rtol=1e-14)
    whole = t[[0, 2, 4]].long()
    assert torch.equal(signal[[0, 2, 4]], table.signal[whole])
    assert torch.equal(sigma[[0, 2, 4]], table.sigma[whole])


def test_between_indices_a_table_stays_in_its_family() -> None:
    values = (4.0, 1.0, -3.0)
    half = torch.tensor([1.5], dtype=torch.float64)
    signal, sigma = VarianceExploding(timesteps=3, values=values).table().at(half)
    assert signal.item() == 1
    assert sigma.item() == pytest.approx(math.exp(0.5))
    signal, sigma = Flow(timesteps=3, values=values).table().at(half)
    assert (signal + sigma).item() == pytest.approx(1)
    assert (sigma / signal).item() == pytest.approx(math.exp(0.5))


@pytest.mark.parametrize("cls", [GivenLogSNR, VarianceExploding, Flow])
def test_the_tables_log_snr_is_the_schedules(cls: type[GivenLogSNR]) -> None:
    values = (9.0, 2.5, 0.0, -4.0, -30.0)
    np.testing.assert_allclose(
        cls(timesteps=5, values=values).table().log_snr.numpy(), values, rtol=1e-14, atol=1e-15
    )


def test_no_interpolation_next_to_infinite_log_snr() -> None:
    table = GivenBeta(timesteps=3, values=(0.1, 0.2, 1.0)).table()
    assert table.log_snr[-1] == -math.inf
    signal, sigma = table.at(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    assert (signal[0], sigma[0]) == (0, 1)
    assert table.beta[-1] == 1
    with pytest.raises(SpecError, match=r"index 1.5 .* cannot be interpolated"):
        table.at(torch.tensor([2.0, 1.5], dtype=torch.float64))


@pytest.mark.parametrize("t", [-0.1, 2.1, math.nan])
def test_an_index_outside_the_table_is_refused(t: float) -> None:
    with pytest.raises(SpecError, match=r"0 … 2"):
        GivenLogSNR(timesteps=3, values=(1.0, 0.0, -1.0)).table().at(torch.tensor([t], dtype=torch.float64))


def test_beta_needs_a_variance_preserving_table() -> None:
    table = VarianceExploding(timesteps=2, values=(1.0, -1.0)).table()
    for name in ("beta", "alpha_bar"):
        with pytest.raises(SpecError, match=f"{name} is defined for variance-preserving"):
            getattr(table, name)
    torch.testing.assert_close(table.sigma_ve, torch.exp(torch.tensor([-0.5, 0.5], dtype=torch.float64)))


def test_uniform_time_covers_every_index_equally() -> None:
    table = Table(torch.ones(7), torch.ones(7))
    u = (torch.arange(7000, dtype=torch.float64) + 0.5) / 7000
    t = TIMES.build("uniform").draw(u, table)
    assert t.dtype == torch.int64
    assert torch.bincount(t).tolist() == [1000] * 7
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert TIMES.build("uniform").draw(ends, table).tolist() == [0, 6]
