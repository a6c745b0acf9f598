from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpmx.errors import SpecError
from ddpmx.registry import PREDICTIONS, SAMPLERS, SCHEDULES, WEIGHTINGS
from ddpmx.schedules import Table
from ddpmx.weightings import Weighting

NAMES = ["epsilon", "x_start", "v", "velocity"]


class Bound(Weighting):
    """The bound itself, infinite at index 0: x_0 weight ½(SNR_{t−1} − SNR_t)."""

    component_name: ClassVar[str] = "bound"

    def x_start_weight(self, table: Table) -> Tensor:
        snr = table.log_snr.exp()
        return -0.5 * snr.diff(prepend=snr.new_full((1,), torch.inf))


def study_formula(beta: np.ndarray) -> np.ndarray:
    """β²/(2σ²α(1−ᾱ)) with σ² = β(1−ᾱ_{t−1})/(1−ᾱ_t), in numpy, at every index but the first."""
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
    """KL(q(x_s|x_t,x_0) ‖ q(x_s|x_t,x̂_0)) = (c_x0·(x_0 − x̂_0))²/(2·std²), from the rows that ddpm plans."""
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
    torch.testing.assert_close(clipped.weights(table, "epsilon"), full.weights(table, "epsilon").clamp(max=clip))
    snr = (table.signal / table.sigma).square()
    torch.testing.assert_close(clipped.weights(table, "x_start"), clipped.weights(table, "epsilon") * snr)
    assert clipped.weights(table, "epsilon")[0].item() == pytest.approx(clip, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_two_predictions_are_one_objective(name: str) -> None:
    """weight·error² is the same number for every prediction that implies the same x_0."""
    table = SCHEDULES.build("cosine", timesteps=200).table()
    x_start, eps, guess = torch.randn(3, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = table.signal * x_start + table.sigma * eps

    def objective(prediction: str) -> Tensor:
        target_x, target_eps = PREDICTIONS.build(prediction).target(table.signal, table.sigma)
        output = target_x * guess + target_eps * (x - table.signal * guess) / table.sigma
        error = output - (target_x * x_start + target_eps * eps)
        return WEIGHTINGS.build("vlb", clip=5.0).weights(table, prediction) * error.square()

    torch.testing.assert_close(objective(name), objective("x_start"), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [*NAMES, "noise", "flow"])
def test_constant_is_one_for_the_prediction_in_use(name: str) -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    weight = WEIGHTINGS.build("constant").weights(table, name)
    assert weight.dtype == torch.float64
    assert weight.tolist() == [1.0] * 10


def test_a_name_an_alias_and_a_prediction_are_alike() -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    weighting = WEIGHTINGS.build("vlb", clip=1.0)
    expected = weighting.weights(table, "v")
    assert torch.equal(weighting.weights(table, "v_prediction"), expected)
    assert torch.equal(weighting.weights(table, PREDICTIONS.build("v")), expected)
    with pytest.raises(SpecError, match="unknown prediction 'w'"):
        weighting.weights(table, "w")


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_weight_is_refused_by_index(name: str) -> None:
    table = SCHEDULES.build("linear", timesteps=10).table()
    with pytest.raises(SpecError, match=r"'vlb' is inf at index 0 \(set its clip\)"):
        WEIGHTINGS.build("vlb").weights(table, name)
    with pytest.raises(SpecError, match="'bound' is inf at index 0"):
        Bound().weights(table, name)


def test_the_last_index_is_named_when_no_signal_is_left() -> None:
    """At zero terminal SNR an ε error says nothing about x_0."""
    table = SCHEDULES.build("cosine", timesteps=10, s=0.0, beta_max=1.0).table()
    last = Table(torch.cat([table.signal[:-1], table.signal.new_zeros(1)]), torch.cat([table.sigma[:-1], table.sigma.new_ones(1)]))
    with pytest.raises(SpecError, match="is nan at index 9"):
        WEIGHTINGS.build("vlb", clip=1.0).weights(last, "epsilon")
    assert WEIGHTINGS.build("vlb", clip=1.0).weights(last, "v")[-1] == 0


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_clip_out_of_range(clip: object) -> None:
    with pytest.raises(SpecError) as error:
        WEIGHTINGS.build("vlb", clip=clip)
    assert error.value.field == "clip"
