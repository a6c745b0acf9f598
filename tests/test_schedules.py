from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpmx.errors import SpecError
from ddpmx.registry import SCHEDULES, TIMES
from ddpmx.schedules import Schedule, Table

BUILT_IN = ["linear", "quadratic", "cosine", "sigmoid"]


class Given(Schedule):
    """log-SNR as written in the test."""

    component_name: ClassVar[str] = "given"
    values: tuple[float, ...]

    def log_snr(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


class GivenBeta(Schedule):
    """β as written in the test."""

    component_name: ClassVar[str] = "given_beta"
    values: tuple[float, ...]

    def beta(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


class VarianceExploding(Given):
    """signal 1, any sigma."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)


class Flow(Given):
    """signal + sigma = 1."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)


def paper_betas(name: str, timesteps: int) -> np.ndarray:
    """The papers' formulas, in numpy, indices counted from 1 as there."""
    t = np.arange(1, timesteps + 1)
    share = (t - 1) / (timesteps - 1)
    if name == "linear":
        return 1e-4 + share * (0.02 - 1e-4)
    if name == "quadratic":
        return (np.sqrt(1e-4) + share * (np.sqrt(0.02) - np.sqrt(1e-4))) ** 2
    if name == "sigmoid":
        return 1e-4 + (0.02 - 1e-4) / (1 + np.exp(-(-6 + 12 * share)))
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


@pytest.mark.parametrize("timesteps", [100, 300, 1000])
@pytest.mark.parametrize("name", BUILT_IN)
def test_betas_are_the_papers(name: str, timesteps: int) -> None:
    beta = SCHEDULES.build(name, timesteps=timesteps).table().beta.numpy()
    np.testing.assert_allclose(beta, paper_betas(name, timesteps), rtol=1e-11 if name == "cosine" else 1e-12)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2"), ("sigmoid", "sigmoid")])
def test_tables_are_diffusers(name: str, theirs: str) -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(1000, beta_schedule=theirs)
    table = SCHEDULES.build(name, timesteps=1000).table()
    torch.testing.assert_close(table.beta.float(), scheduler.betas, rtol=1e-5, atol=0)
    torch.testing.assert_close(table.alpha_bar.float(), scheduler.alphas_cumprod, rtol=2e-4, atol=0)  # theirs is a float32 product


@pytest.mark.parametrize("name", BUILT_IN)
def test_table_is_exact(name: str) -> None:
    """signal² = Π(1 − β) and sigma² = 1 − Π(1 − β), in 50 digits, without cancellation at either end."""
    schedule = SCHEDULES.build(name, timesteps=500)
    table, alpha_bar = schedule.table(), Decimal(1)
    signal2, sigma2 = [], []
    with localcontext() as context:
        context.prec = 50
        for beta in schedule.beta().tolist():
            alpha_bar *= 1 - Decimal(beta)
            signal2.append(float(alpha_bar))
            sigma2.append(float(1 - alpha_bar))
    np.testing.assert_allclose(table.signal.square().numpy(), signal2, rtol=1e-14)
    np.testing.assert_allclose(table.sigma.square().numpy(), sigma2, rtol=1e-14)
    np.testing.assert_allclose(table.sigma_ve.square().numpy(), np.divide(sigma2, signal2), rtol=1e-14)
    np.testing.assert_allclose(table.beta.numpy(), schedule.beta().numpy(), rtol=1e-12)


@pytest.mark.parametrize("timesteps", [1, 2, 3, 10, 1000, 100_000])
@pytest.mark.parametrize("name", BUILT_IN)
def test_built_ins_make_a_table_at_any_length(name: str, timesteps: int) -> None:
    table = SCHEDULES.build(name, timesteps=timesteps).table()
    assert table.timesteps == timesteps
    assert bool((table.log_snr.diff() < 0).all())
    torch.testing.assert_close(table.signal.square() + table.sigma.square(), torch.ones(timesteps, dtype=torch.float64))


def test_cosine_clips_beta() -> None:
    table = SCHEDULES.build("cosine", timesteps=300, beta_min=1e-2, beta_max=0.5).table()
    plain = paper_betas("cosine", 300)
    np.testing.assert_allclose(table.beta.numpy(), plain.clip(1e-2, 0.5), rtol=1e-11)
    assert plain.min() < 1e-2
    assert plain.max() > 0.5


def test_cosine_first_beta_is_positive_without_offset() -> None:
    """With s = 0 the first β is sin²(π/2T), 2.5e-10 at T = 100,000, where 1 − cos² would keep 6 digits."""
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
        (SCHEDULES.build("linear", timesteps=100_000, beta_end=0.9), "'linear' should lose signal.* at index"),
        (Given(timesteps=3, values=(1.0, 1.0, 0.0)), "'given' should lose signal.* from 1 to 1 at index 1"),
        (GivenBeta(timesteps=3, values=(0.1, 1.0, 0.1)), "from -inf to -inf at index 2"),
        (GivenBeta(timesteps=3, values=(0.1, 0.0, 0.1)), "'given_beta' has β = 0 at index 1"),
        (GivenBeta(timesteps=2, values=(0.1, -0.1)), "'given_beta' has β = -0.1 at index 1"),
        (
            Given(timesteps=2, values=(1.0, 0.0, -1.0)),
            r"log_snr\(\) of the schedule 'given' should return float64 \[2\] on cpu, not float64 \[3\]",
        ),
        (SCHEDULES.base(timesteps=2), "neither beta"),
        (SCHEDULES.build("cosine", timesteps=2, beta_min=0.5, beta_max=0.4), "at most beta_max"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule: Schedule, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        schedule.table()


@pytest.mark.parametrize("value", [torch.zeros(2), [1.0, 0.0], torch.tensor([math.nan, 0.0], dtype=torch.float64)])
def test_what_a_plugin_returns_is_checked(value: object) -> None:
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


@pytest.mark.parametrize("cls", [Given, VarianceExploding, Flow])
def test_log_snr_is_what_the_schedule_says(cls: type[Given]) -> None:
    values = (9.0, 2.5, 0.0, -4.0, -30.0)
    np.testing.assert_allclose(cls(timesteps=5, values=values).table().log_snr.numpy(), values, rtol=1e-14, atol=1e-15)


def test_infinite_ends_have_no_inside() -> None:
    table = GivenBeta(timesteps=3, values=(0.1, 0.2, 1.0)).table()
    assert table.log_snr[-1] == -math.inf
    signal, sigma = table.at(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    assert (signal[0], sigma[0]) == (0, 1)
    assert table.beta[-1] == 1
    with pytest.raises(SpecError, match=r"index 1.5 .* no inside"):
        table.at(torch.tensor([2.0, 1.5], dtype=torch.float64))


@pytest.mark.parametrize("t", [-0.1, 2.1, math.nan])
def test_an_index_outside_the_table_is_refused(t: float) -> None:
    with pytest.raises(SpecError, match=r"0 … 2"):
        Given(timesteps=3, values=(1.0, 0.0, -1.0)).table().at(torch.tensor([t], dtype=torch.float64))


def test_beta_needs_a_variance_preserving_table() -> None:
    table = VarianceExploding(timesteps=2, values=(1.0, -1.0)).table()
    for name in ("beta", "alpha_bar"):
        with pytest.raises(SpecError, match=f"{name} is defined for variance-preserving"):
            getattr(table, name)
    torch.testing.assert_close(table.sigma_ve, torch.exp(torch.tensor([-0.5, 0.5], dtype=torch.float64)))


def test_uniform_time_covers_every_index_alike() -> None:
    table = Table(torch.ones(7), torch.ones(7))
    u = (torch.arange(7000, dtype=torch.float64) + 0.5) / 7000
    t = TIMES.build("uniform").draw(u, table)
    assert t.dtype == torch.int64
    assert torch.bincount(t).tolist() == [1000] * 7
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert TIMES.build("uniform").draw(ends, table).tolist() == [0, 6]
