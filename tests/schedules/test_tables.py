"""Tables: which schedules make one, and interpolation between its indices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from listed_schedules import ListedBeta, ListedLogSNR
from torch import Tensor

from ddpmx.components.registry import SCHEDULES, TIMES
from ddpmx.errors import SpecError
from ddpmx.schedules import Schedule, Table


class VarianceExploding(ListedLogSNR):
    """signal = 1, any sigma."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)


class Flow(ListedLogSNR):
    """signal + sigma = 1."""

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (SCHEDULES.build("linear", timesteps=10, rescale=True), "'linear' has β = 1.11556 at index 5"),
        (
            SCHEDULES.build("linear", timesteps=100_000, beta_end=0.9),
            "'linear' should lose signal.* at index",
        ),
        (
            ListedLogSNR(timesteps=3, values=(1.0, 1.0, 0.0)),
            "'listed' should lose signal.* from 1 to 1 at index 1",
        ),
        (ListedBeta(timesteps=3, values=(0.1, 1.0, 0.1)), "from -inf to -inf at index 2"),
        (ListedBeta(timesteps=3, values=(0.1, 0.0, 0.1)), "'listed_beta' has β = 0 at index 1"),
        (ListedBeta(timesteps=2, values=(0.1, -0.1)), "'listed_beta' has β = -0.1 at index 1"),
        (
            ListedLogSNR(timesteps=2, values=(1.0, 0.0, -1.0)),
            r"log_snr\(\) of the schedule 'listed' should return float64 \[2\] on cpu, not float64 \[3\]",
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


@pytest.mark.parametrize("cls", [ListedLogSNR, VarianceExploding, Flow])
def test_the_tables_log_snr_is_the_schedules(cls: type[ListedLogSNR]) -> None:
    values = (9.0, 2.5, 0.0, -4.0, -30.0)
    np.testing.assert_allclose(
        cls(timesteps=5, values=values).table().log_snr.numpy(), values, rtol=1e-14, atol=1e-15
    )


def test_no_interpolation_next_to_infinite_log_snr() -> None:
    table = ListedBeta(timesteps=3, values=(0.1, 0.2, 1.0)).table()
    assert table.log_snr[-1] == -math.inf
    signal, sigma = table.at(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    assert (signal[0], sigma[0]) == (0, 1)
    assert table.beta[-1] == 1
    with pytest.raises(SpecError, match=r"index 1.5 .* cannot be interpolated"):
        table.at(torch.tensor([2.0, 1.5], dtype=torch.float64))


@pytest.mark.parametrize("t", [-0.1, 2.1, math.nan])
def test_an_index_outside_the_table_is_refused(t: float) -> None:
    with pytest.raises(SpecError, match=r"0 … 2"):
        ListedLogSNR(timesteps=3, values=(1.0, 0.0, -1.0)).table().at(torch.tensor([t], dtype=torch.float64))


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
