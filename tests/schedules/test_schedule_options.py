"""Schedules' options `zero_terminal_snr` and `snr_shift`, field ranges, and invalid combinations."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from listed_schedules import BUILT_IN, ListedBeta, ListedLogSNR, diffusers_betas, family

from ddpmx.components.registry import SCHEDULES
from ddpmx.errors import SpecError
from ddpmx.schedules import Schedule

NOT_VARIANCE_PRESERVING = ["edm", "flow"]


VARIANCE_PRESERVING = [name for name in BUILT_IN if name not in NOT_VARIANCE_PRESERVING]


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
    table = ListedLogSNR(timesteps=3, values=(4.0, 1.0, -3.0), zero_terminal_snr=True, snr_shift=2.0).table()
    signal = 1 / np.sqrt(1 + np.exp([-4.0, -1.0, 3.0]))
    signal = signal[0] * (signal - signal[2]) / (signal[0] - signal[2])
    snr = signal[:2] ** 2 / (1 - signal[:2] ** 2) * 4
    np.testing.assert_allclose(table.alpha_bar.numpy(), [*(snr / (1 + snr)), 0.0], rtol=1e-12)


def test_a_terminal_snr_of_zero_is_unchanged() -> None:
    plain, rescaled = (
        ListedBeta(timesteps=3, values=(0.1, 0.2, 1.0), zero_terminal_snr=zero).table()
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
        ListedLogSNR(timesteps=3, values=(-1.0, 0.0, 1.0), zero_terminal_snr=True).table()


@pytest.mark.parametrize("timesteps", [0, -1, 100_001, 10**15, 10.0, "500", True])
def test_timesteps_out_of_range(timesteps: object) -> None:
    with pytest.raises(SpecError) as error:
        SCHEDULES.build("linear", timesteps=timesteps)
    assert error.value.field == "timesteps"
