"""Grids that are spaced by noise level, and every sampler on every grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scheduler_runs import LINEAR, SHAPE, difference, ours, plan, random
from torch import Tensor

from ddpmx.components.registry import PREDICTIONS, SAMPLERS, SCHEDULES
from ddpmx.samplers.grid import GRIDS, spaced
from ddpmx.samplers.noise_grids import beta_quantile
from ddpmx.samplers.path import index_at
from ddpmx.sampling.loop import sample
from ddpmx.schedules import Table
from ddpmx.testing.gaussian import denoiser

NOISE_GRIDS = ["karras", "exponential", "beta", "log_snr"]


def levels(table: Table, indices: tuple[float, ...]) -> np.ndarray:
    """sigma/signal at the indices."""
    return torch.exp(-table.log_snr_at(torch.tensor(indices, dtype=torch.float64)) / 2).numpy()


@pytest.mark.parametrize(
    ("grid", "options"),
    [("karras", "use_karras_sigmas"), ("exponential", "use_exponential_sigmas"), ("beta", "use_beta_sigmas")],
)
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_noise_grids_are_diffusers(grid: str, options: str) -> None:
    """sigma/signal at our fractional indices equals diffusers' float32 sigmas on its linspace grid."""
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(1000, timestep_spacing="linspace", **{options: True})
    scheduler.alphas_cumprod = LINEAR.alpha_bar.numpy()
    for steps in (2, 3, 20, 57):
        scheduler.set_timesteps(steps)
        np.testing.assert_allclose(
            levels(LINEAR, spaced(grid, LINEAR, steps)), scheduler.sigmas[:-1].numpy(), rtol=1e-6
        )


def test_log_snr_is_evenly_spaced() -> None:
    for table in (LINEAR, SCHEDULES.build("cosine", timesteps=300).table()):
        indices = spaced("log_snr", table, 37)
        assert (indices[0], indices[-1]) == (table.timesteps - 1, 0)
        np.testing.assert_allclose(np.diff(np.log(levels(table, indices)), n=2), 0, atol=1e-10)
        assert indices == spaced("exponential", table, 37)


def test_beta_quantile_is_scipys() -> None:
    from scipy import stats

    p = np.concatenate([[1e-6, 1e-3, 0.999], np.linspace(0.01, 0.99, 50)])
    for a in (0.6, 1.0, 0.25):
        np.testing.assert_allclose([beta_quantile(x, a) for x in p], stats.beta.ppf(p, a, a), rtol=1e-10)


def test_index_at_inverts_log_snr() -> None:
    indices = torch.cat(
        [
            torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 999,
            torch.arange(1000),
        ]
    )
    inverted = [index_at(LINEAR, value) for value in LINEAR.log_snr_at(indices).tolist()]
    np.testing.assert_allclose(inverted, indices.numpy(), atol=1e-8)
    assert (index_at(LINEAR, 1e9), index_at(LINEAR, -1e9)) == (0, 999)


def table_with_ends(top: bool, bottom: bool, timesteps: int = 20) -> Table:
    """A table that ends in pure noise if `top`, and starts clean if `bottom`."""
    signal, sigma = (
        SCHEDULES.build("linear", timesteps=timesteps, beta_end=0.6)
        .table()
        .at(torch.arange(timesteps).double())
    )
    signal, sigma = signal.clone(), sigma.clone()
    if top:
        signal[-1], sigma[-1] = 0, 1
    if bottom:
        signal[0], sigma[0] = 1, 0
    return Table(signal, sigma)


ENDS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize(("top", "bottom"), ENDS)
@pytest.mark.parametrize("grid", NOISE_GRIDS)
def test_noise_grids_at_every_step_count(grid: str, top: bool, bottom: bool) -> None:
    """From T−1 to 0 (only T−1 with one step), with finite log-SNR in between, whatever the ends are."""
    for total in (1, 2, 3, 4, 20):
        if total == 1 and top and bottom:
            continue
        table = table_with_ends(top, bottom, total)
        for steps in range(1, total + 1):
            indices = spaced(grid, table, steps)
            assert len(indices) == steps
            assert all(after < before for before, after in itertools.pairwise(indices))
            assert indices[0] == total - 1
            assert steps == 1 or indices[-1] == 0
            table.log_snr_at(
                torch.tensor(indices, dtype=torch.float64)
            )  # raises for an index next to infinite log-SNR


# All samplers.

PARAMETERS = {
    "edm": [{}, {"s_churn": 5.0}, {"s_churn": 100.0, "s_tmin": 0.5}],
    "ddim": [{}, {"eta": 1.0}],
    "ddpm": [{}, {"variance": "beta"}],
    "dpmpp_3m": [{}, {"published": True}],
    **{name: [{"order": p} for p in (1, 2, 3)] for name in ("deis", "unipc", "lms", "ipndm")},
}
EVERY = [(name, parameters) for name in SAMPLERS.names() for parameters in PARAMETERS.get(name, [{}])]


@pytest.mark.parametrize(("name", "parameters"), EVERY)
def test_every_sampler_ends_clean(name: str, parameters: dict[str, object]) -> None:
    """A constant x_0 comes out unchanged, from finite rows at the grid's indices.

    On every grid, at 1, 2, 3 and T steps. Churn moves the evaluations to more noise, so its indices are not
    checked.
    """
    x, x0 = random(2, 5), torch.linspace(-0.9, 0.9, 5, dtype=torch.float64).expand(2, 5)

    def constant(x: Tensor, t: Tensor) -> Tensor:
        return x0

    for (top, bottom), grid, steps in itertools.product(ENDS, GRIDS, (1, 2, 3, 20)):
        if (grid == "all" and steps != 20) or ((top or bottom) and grid not in ("linspace", "karras")):
            continue
        table = table_with_ends(top, bottom)
        run = SAMPLERS.build(name, grid=grid, steps=steps, **parameters).plan(table, "x_start")
        for row in run:
            numbers = (
                row.x0_from_x,
                row.x0_from_output,
                row.c_x,
                row.c_x0,
                row.c_anchor,
                row.c_noise,
                row.m_x,
                row.m_x0,
            )
            assert all(map(math.isfinite, (*numbers, *row.c_history)))
        indices = spaced(grid, table, steps)
        if "s_churn" not in parameters:
            assert set(indices) <= {row.t for row in run}
        images = sample(constant, run, x.shape, x_init=x * run.init_scale, dtype=torch.float64)
        torch.testing.assert_close(images, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters"), [case for case in EVERY if case != ("ddpm", {"variance": "beta"})]
)
def test_every_sampler_agrees_between_families(name: str, parameters: dict[str, object]) -> None:
    """x/signal follows the same process whatever signal is, so images from the same start and noise agree.

    Left out: heun on rectified flow, where it has another form, and ddpm's beta variance, which is sigma_t²
    whatever the signal is.
    """
    indices = [999, 800, 500.5, 300, 120.25, 50, 0]
    x, ends = random(*SHAPE), []
    families: list[Callable[[Tensor], Tensor]] = [
        lambda log_snr: torch.sigmoid(log_snr).sqrt(),
        torch.ones_like,
    ]
    families += [] if name == "heun" else [lambda log_snr: torch.sigmoid(log_snr / 2)]
    for signal_of in families:

        def both(log_snr: Tensor, signal_of: Callable[[Tensor], Tensor] = signal_of) -> tuple[Tensor, Tensor]:
            return signal_of(log_snr), signal_of(log_snr) * torch.exp(-log_snr / 2)

        table = Table(*both(LINEAR.log_snr), both)
        run = plan(name, table, indices, "v", **parameters)
        ends.append(ours(run, denoiser(table, PREDICTIONS.build("v"), mean=0.3), x * table.signal[-1]))
    for end in ends[1:]:
        assert difference(end, ends[0]) < 1e-9


@pytest.mark.parametrize(
    "name", [name for name in SAMPLERS.names() if name not in ("ddpm", "ddim", "euler_ancestral")]
)
def test_a_step_from_pure_noise_is_a_straight_line(name: str) -> None:
    """x' = signal'·x_0 + sigma'·ε, with ε = x."""
    table = table_with_ends(top=True, bottom=False)
    row = SAMPLERS.build(name, timesteps=[19, 12, 5, 0]).plan(table, "v").rows[0]
    assert (row.c_x, row.c_x0) == pytest.approx((table.sigma[12].item(), table.signal[12].item()))
    assert (row.c_noise, row.c_history, row.c_anchor) == (0, (), 0)
