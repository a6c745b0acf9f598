"""Weights against the papers' formulas in numpy, and one objective for every prediction."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from weighting_tables import NAMES, table_of, vp

from ddpmx.components.registry import PREDICTIONS, SAMPLERS, SCHEDULES, WEIGHTINGS
from ddpmx.errors import SpecError
from ddpmx.schedules import Table
from ddpmx.weightings import Weighting


def exploding() -> Table:
    """A table with signal = 1 and σ from 0.002 to 80, as in EDM."""
    sigma = torch.logspace(math.log10(0.002), math.log10(80), 200, dtype=torch.float64)
    return Table(
        torch.ones_like(sigma), sigma, lambda log_snr: (torch.ones_like(log_snr), (-0.5 * log_snr).exp())
    )


def study_formula(beta: np.ndarray) -> np.ndarray:
    """β²/(2σ²α(1−ᾱ)) with σ² = β(1−ᾱ_{t−1})/(1−ᾱ_t), in numpy, from index 1 on."""
    alpha, alpha_bar = 1 - beta, np.cumprod(1 - beta)
    variance = beta[1:] * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
    return beta[1:] ** 2 / (2 * variance * alpha[1:] * (1 - alpha_bar[1:]))


@pytest.mark.parametrize("schedule", ["linear", "quadratic", "cosine", "sigmoid"])
def test_vlb_is_the_studys_formula_and_the_snr_identity(schedule: str) -> None:
    table = SCHEDULES.build(schedule, timesteps=300).table()
    weight = WEIGHTINGS.build("vlb", clip=1e9).weights(table, "epsilon").numpy()
    np.testing.assert_allclose(weight[1:], study_formula(table.beta.numpy()), rtol=1e-9)
    snr = (table.signal / table.sigma).square().numpy()
    np.testing.assert_allclose(weight[1:], 0.5 * (snr[:-1] / snr[1:] - 1), rtol=1e-9)
    assert weight[0] == pytest.approx(1e9, rel=1e-12)


def test_vlb_is_the_divergence_of_the_samplers_step() -> None:
    """KL(q(x_s|x_t,x_0) ‖ q(x_s|x_t,x̂_0)) = (c_x0·(x_0 − x̂_0))²/(2·std²), from the rows planned by ddpm."""
    table = SCHEDULES.build("linear", timesteps=100).table()
    rows = SAMPLERS.build("ddpm").plan(table).rows[:-1]
    weight = WEIGHTINGS.build("vlb", clip=1e9).weights(table, "x_start")
    for row in rows:
        assert weight[int(row.t)].item() == pytest.approx(row.c_x0**2 / (2 * row.c_noise**2), rel=1e-9)


@pytest.mark.parametrize("clip", [1.0, 10.0, 100.0])
def test_clip_bounds_the_epsilon_weight_then_converts(clip: float) -> None:
    table = SCHEDULES.build("linear", timesteps=500).table()
    full = WEIGHTINGS.build("vlb", clip=1e9)
    clipped = WEIGHTINGS.build("vlb", clip=clip)
    torch.testing.assert_close(
        clipped.weights(table, "epsilon"), full.weights(table, "epsilon").clamp(max=clip)
    )
    snr = (table.signal / table.sigma).square()
    torch.testing.assert_close(clipped.weights(table, "x_start"), clipped.weights(table, "epsilon") * snr)
    assert clipped.weights(table, "epsilon")[0].item() == pytest.approx(clip, rel=1e-12)


@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS.names()) - {"constant"}))
@pytest.mark.parametrize(
    "make", [lambda: vp("cosine"), lambda: vp("linear"), exploding], ids=["cosine", "linear", "exploding"]
)
def test_two_predictions_are_one_objective(weighting: str, make: Callable[[], Table]) -> None:
    """weight·error² is the same for every prediction whose output implies the same x_0."""
    table = make()
    component = WEIGHTINGS.build(
        weighting, **{"vlb": {"clip": 5.0}, "learned": {"base": "p2"}}.get(weighting, {})
    )
    x_start, guess = torch.randn(
        2, table.timesteps, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    error_x = guess - x_start
    error_eps = -table.signal / table.sigma * error_x  # from x_t = signal·x_0 + sigma·ε with x_t fixed
    on_x_start = component.weights(table, "x_start") * error_x.square()
    for name in NAMES:
        target_x, target_eps = PREDICTIONS.build(name).target(table.signal, table.sigma)
        error = target_x * error_x + target_eps * error_eps
        torch.testing.assert_close(
            component.weights(table, name) * error.square(), on_x_start, rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("name", [*NAMES, "noise", "flow"])
def test_constant_is_one_for_the_prediction_in_use(name: str) -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    weight = WEIGHTINGS.build("constant").weights(table, name)
    assert weight.dtype == torch.float64
    assert weight.tolist() == [1.0] * 10


def test_a_name_an_alias_and_a_prediction_are_equivalent() -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    weighting = WEIGHTINGS.build("vlb", clip=1.0)
    expected = weighting.weights(table, "v")
    assert torch.equal(weighting.weights(table, "v_prediction"), expected)
    assert torch.equal(weighting.weights(table, PREDICTIONS.build("v")), expected)
    with pytest.raises(SpecError, match="unknown prediction 'w'"):
        weighting.weights(table, "w")


FORMULAS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "snr": {"x_start": lambda s: s, "epsilon": lambda s: 1 + 0 * s, "v": lambda s: s / (s + 1)},
    "truncated_snr": {
        "x_start": lambda s: np.maximum(s, 1),
        "epsilon": lambda s: np.maximum(1, 1 / s),
        "v": lambda s: np.maximum(s, 1) / (s + 1),
    },
    "min_snr": {
        "x_start": lambda s: np.minimum(s, 5),
        "epsilon": lambda s: np.minimum(s, 5) / s,
        "v": lambda s: np.minimum(s, 5) / (s + 1),
    },
    "soft_min_snr": {
        "x_start": lambda s: 1 / (1 / s + 1 / 4),  # 1/(σ² + 1/gamma) of the paper's σ = sigma_ve
        "epsilon": lambda s: 4 / (s + 4),
        "v": lambda s: 4 * s / ((s + 4) * (s + 1)),
    },
    "p2": {
        "x_start": lambda s: s / (1 + s),
        "epsilon": lambda s: 1 / (1 + s),
        "v": lambda s: s / (1 + s) ** 2,
    },
    "debiased": {
        "x_start": np.sqrt,
        "epsilon": lambda s: 1 / np.sqrt(s),
        "v": lambda s: np.sqrt(s) / (s + 1),
    },
    "edm": {"x_start": lambda s: s + 4, "epsilon": lambda s: 1 + 4 / s, "v": lambda s: (s + 4) / (s + 1)},
    "sigmoid": {
        "x_start": lambda s: s / (1 + s * np.exp(-2)),
        "epsilon": lambda s: 1 / (1 + s * np.exp(-2)),
        "v": lambda s: s / ((1 + s * np.exp(-2)) * (1 + s)),
    },
}
"""The papers' weight of each error as a function of SNR, with the default parameters; v on
variance-preserving tables."""


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_weights_are_the_papers_for_each_prediction(name: str, schedule: str) -> None:
    table = vp(schedule)
    snr = table.alpha_bar.numpy() / table.sigma.square().numpy()
    for prediction, formula in FORMULAS[name].items():
        weight = WEIGHTINGS.build(name).weights(table, prediction)
        assert weight.dtype == torch.float64
        np.testing.assert_allclose(weight.numpy(), formula(snr), rtol=1e-11, err_msg=prediction)


def test_every_weighting_has_a_formula_above_or_a_test_of_its_own() -> None:
    built_in = {name for name in WEIGHTINGS.names() if WEIGHTINGS.get(name).__module__.startswith("ddpmx.")}
    assert built_in == {*FORMULAS, "constant", "vlb", "elbo", "learned"}  # learned: test_learned_training.py


@pytest.mark.parametrize("sigma_data", [0.5, 1.0, 2.0])
def test_edm_weighs_the_preconditioned_networks_output_by_one(sigma_data: float) -> None:
    """λ(σ)·c_out² = 1 for D = c_skip·x + c_out·F, which is why the paper chooses λ; written as in table 1."""
    table = exploding()
    sigma = table.sigma.numpy()
    weight = WEIGHTINGS.build("edm", sigma_data=sigma_data).weights(table, "x_start").numpy()
    np.testing.assert_allclose(weight, (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2, rtol=1e-12)
    c_out = sigma * sigma_data / np.sqrt(sigma**2 + sigma_data**2)
    np.testing.assert_allclose(weight * c_out**2, 1, rtol=1e-12)


def test_edm_for_unit_variance_is_the_plain_v_loss() -> None:
    weight = WEIGHTINGS.build("edm", sigma_data=1.0).weights(vp("cosine"), "v")
    torch.testing.assert_close(weight, torch.ones_like(weight), rtol=1e-11, atol=0)


def test_p2_without_gamma_is_the_plain_epsilon_loss() -> None:
    table = vp("linear")
    for name in NAMES:
        p2, snr = (
            component.weights(table, name)
            for component in (WEIGHTINGS.build("p2", gamma=0.0), WEIGHTINGS.build("snr"))
        )
        torch.testing.assert_close(p2, snr, rtol=1e-12, atol=0)


def test_p2_has_the_papers_parameters() -> None:
    table = vp("linear")
    snr = table.log_snr.exp().numpy()
    weight = WEIGHTINGS.build("p2", gamma=0.5, k=2.0).weights(table, "epsilon").numpy()
    np.testing.assert_allclose(weight, 1 / (2 + snr) ** 0.5, rtol=1e-12)


def test_soft_min_snr_is_below_min_snr_and_half_of_it_at_the_corner() -> None:
    table = table_of(torch.tensor([9.0, 3.0, math.log(6.0), 1.0, -9.0], dtype=torch.float64))
    soft, hard = (
        WEIGHTINGS.build(name, gamma=6.0).weights(table, "x_start") for name in ("soft_min_snr", "min_snr")
    )
    assert bool((soft < hard).all())
    assert (soft / hard)[2].item() == pytest.approx(0.5, rel=1e-12)
    assert (soft / hard)[[0, -1]].tolist() == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.parametrize("name", ["min_snr", "soft_min_snr", "p2", "sigmoid"])
def test_these_weights_of_the_epsilon_error_fall_with_the_noise(name: str) -> None:
    """Weights that never rise with log-SNR are a bound for noisy data (Kingma & Gao 2023, sec. 4)."""
    weight = WEIGHTINGS.build(name).weights(vp("cosine"), "epsilon")
    assert bool((weight.diff() >= -1e-14).all())


def test_elbo_is_the_derivative_of_log_snr() -> None:
    """Central differences of λ = a·t² + b·t + c are exact: −½λ' = −½(2at + b)."""
    t = torch.arange(50, dtype=torch.float64)
    weight = WEIGHTINGS.build("elbo").weights(table_of(9 - 0.2 * t - 0.003 * t**2), "epsilon")
    torch.testing.assert_close(weight[1:-1], 0.5 * (0.2 + 0.006 * t)[1:-1], rtol=1e-9, atol=0)


def test_elbo_is_the_limit_of_vlb() -> None:
    """With steps d of λ they are ½(e^d − 1) and ½d, whose relative difference shrinks with d."""
    gaps = []
    for timesteps in (500, 5000):
        table = table_of(torch.linspace(10, -10, timesteps, dtype=torch.float64))
        vlb, elbo = (
            component.weights(table, "v")[1:]
            for component in (WEIGHTINGS.build("vlb", first="skip"), WEIGHTINGS.build("elbo"))
        )
        gaps.append((vlb / elbo - 1).abs().max().item())
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.05)


def test_the_bound_does_not_depend_on_the_schedule() -> None:
    """Σ_t weight·error² is an integral over log-SNR if the error depends on log-SNR only.

    Kingma et al. 2021, eq. 18.
    """

    def total(weighting: Weighting, log_snr: Tensor) -> float:
        table = table_of(log_snr)
        weight = weighting.weights(table, "epsilon")
        weight[[0, -1]] /= 2  # the ends of the trapezoidal rule
        return float((weight * (-0.1 * log_snr.square()).exp()).sum())

    fraction = torch.linspace(0, 1, 4000, dtype=torch.float64)
    straight, bent = 8 - 16 * fraction, 8 - 16 * fraction**1.5
    for weighting in (WEIGHTINGS.build("elbo"), WEIGHTINGS.build("sigmoid", per_log_snr=True)):
        assert total(weighting, bent) == pytest.approx(total(weighting, straight), rel=1e-4)


def test_sigmoid_per_log_snr_is_elbo_times_the_sigmoid() -> None:
    table = vp("cosine")
    for name in NAMES:
        per_log_snr, elbo = WEIGHTINGS.build("sigmoid", bias=-1.0, per_log_snr=True), WEIGHTINGS.build("elbo")
        expected = elbo.weights(table, name) * torch.sigmoid(-1 - table.log_snr)
        torch.testing.assert_close(per_log_snr.weights(table, name), expected, rtol=1e-12, atol=0)


def test_max_snr_is_an_alias_of_truncated_snr() -> None:
    assert WEIGHTINGS.build("max_snr", floor=3.0) == WEIGHTINGS.build("truncated_snr", floor=3.0)
