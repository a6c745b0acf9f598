"""Predictions against the papers' formulas: targets, recovered images, limits and aliases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ddpmx.components.registry import PREDICTIONS
from ddpmx.errors import SpecError
from ddpmx.predictions import Prediction, as_prediction

NAMES = ["epsilon", "x_start", "v", "velocity", "edm"]
ANGLE = torch.linspace(0.01, 1.55, 40, dtype=torch.float64)
PATHS = {
    "variance preserving": (ANGLE.cos(), ANGLE.sin()),
    "variance exploding": (torch.ones_like(ANGLE), ANGLE.tan()),
    "flow": (1 - ANGLE / 2, ANGLE / 2),
}


def random_pair(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_start, eps = torch.randn(2, n, dtype=torch.float64, generator=generator)
    return x_start, eps


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, path: str) -> None:
    """x_t and the target give x_0 back, in every family of schedules."""
    signal, sigma = PATHS[path]
    x_start, eps = random_pair(len(ANGLE))
    prediction = PREDICTIONS.build(name)
    target_x, target_eps = prediction.target(signal, sigma)
    from_x, from_output = prediction.x0_from(signal, sigma)
    recovered = from_x * (signal * x_start + sigma * eps) + from_output * (
        target_x * x_start + target_eps * eps
    )
    torch.testing.assert_close(recovered, x_start, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("path", PATHS)
def test_x0_formulas(path: str) -> None:
    """The papers' formulas for x_0, written out."""
    signal, sigma = PATHS[path]
    x, output = random_pair(len(ANGLE))
    expected = {
        "epsilon": (x - sigma * output) / signal,
        "x_start": output,
        "v": (signal * x - sigma * output) / (signal**2 + sigma**2),
        "velocity": (x - sigma * output) / (signal + sigma),
    }
    for name, x_start in expected.items():
        from_x, from_output = PREDICTIONS.build(name).x0_from(signal, sigma)
        torch.testing.assert_close(from_x * x + from_output * output, x_start, rtol=1e-12, atol=1e-12)


def test_v_is_the_derivative_by_the_angle() -> None:
    """Salimans & Ho, app. D: with signal = cos φ, sigma = sin φ, v = dx/dφ."""
    phi = ANGLE.clone().requires_grad_()
    x_start, eps = random_pair(len(ANGLE))
    (slope,) = torch.autograd.grad((phi.cos() * x_start + phi.sin() * eps).sum(), phi)
    target_x, target_eps = PREDICTIONS.build("v").target(ANGLE.cos(), ANGLE.sin())
    torch.testing.assert_close(target_x * x_start + target_eps * eps, slope)


def test_velocity_is_the_derivative_by_time() -> None:
    """Rectified flow: x_t = (1 − t)·x_0 + t·ε, u = dx/dt."""
    t = torch.linspace(0, 1, 40, dtype=torch.float64).requires_grad_()
    x_start, eps = random_pair(40)
    (slope,) = torch.autograd.grad(((1 - t) * x_start + t * eps).sum(), t)
    target_x, target_eps = PREDICTIONS.build("velocity").target(1 - t.detach(), t.detach())
    torch.testing.assert_close(target_x * x_start + target_eps * eps, slope)


@pytest.mark.parametrize("name", NAMES)
def test_ends(name: str) -> None:
    """Where sigma = 0, x_0 is x_t; where signal = 0, every output except ε still determines x_0."""
    signal, sigma = (
        torch.tensor([1.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
    )
    prediction = PREDICTIONS.build(name)
    target_x, _ = prediction.target(signal, sigma)
    from_x, from_output = prediction.x0_from(signal, sigma)
    assert from_x[0] + from_output[0] * target_x[0] == 1
    if name == "epsilon":
        assert from_output[1].isinf()
    else:
        assert (from_x[1].abs() + from_output[1].abs()).isfinite()
        assert from_output[1] * target_x[1] == 1


@pytest.mark.parametrize(
    ("alias", "name"),
    [("noise", "epsilon"), ("sample", "x_start"), ("v_prediction", "v"), ("flow", "velocity")],
)
def test_aliases(alias: str, name: str) -> None:
    assert as_prediction(alias).component_name == name
    assert PREDICTIONS.names() == sorted(NAMES)


def test_unknown_prediction_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'epsilon'"):
        as_prediction("epsilom")


def test_a_plugin_needs_only_a_target() -> None:
    """EDM's F as a plugin (Karras et al., table 1): x_0 = c_skip·x + c_out·F follows from its target."""

    class Karras(Prediction):
        def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / torch.sqrt(sigma**2 + 0.25)
            return (1 - c_skip * signal) / c_out, -c_skip * sigma / c_out

    signal, sigma = PATHS["variance exploding"]
    from_x, from_output = Karras().x0_from(signal, sigma)
    torch.testing.assert_close(from_x, 0.25 / (sigma**2 + 0.25))
    torch.testing.assert_close(from_output, sigma * 0.5 / torch.sqrt(sigma**2 + 0.25))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_edm_is_the_papers_preconditioning(path: str, sigma_data: float) -> None:
    """D(x) = c_skip·x + c_out·F(c_in·x) with table 1's coefficients, x = x_t/signal and σ = sigma/signal."""
    signal, sigma = PATHS[path]
    level, variance = sigma / signal, sigma_data**2
    c_skip, c_out = variance / (level**2 + variance), level * sigma_data / (level**2 + variance).sqrt()
    c_in = 1 / (level**2 + variance).sqrt()
    prediction = PREDICTIONS.build("edm", sigma_data=sigma_data)
    x_t, output = random_pair(len(ANGLE))
    from_x, from_output = prediction.x0_from(signal, sigma)
    torch.testing.assert_close(
        from_x * x_t + from_output * output, c_skip * (x_t / signal) + c_out * output, rtol=1e-12, atol=1e-12
    )
    scale = prediction.input_scale(signal, sigma)
    assert scale is not None
    torch.testing.assert_close(scale * x_t, c_in * (x_t / signal), rtol=1e-12, atol=1e-12)


def test_edm_keeps_input_and_target_at_unit_variance() -> None:
    """Unit variance at every noise level if the data's deviation is sigma_data; F = −v if that is 1."""
    for signal, sigma in PATHS.values():
        prediction = PREDICTIONS.build("edm", sigma_data=0.3)
        target_x, target_eps = prediction.target(signal, sigma)
        scale = prediction.input_scale(signal, sigma)
        assert scale is not None
        ones = torch.ones_like(signal)
        torch.testing.assert_close((target_x * 0.3) ** 2 + target_eps**2, ones)
        torch.testing.assert_close(scale**2 * ((signal * 0.3) ** 2 + sigma**2), ones)
    minus_v = PREDICTIONS.build("edm", sigma_data=1.0).target(ANGLE.cos(), ANGLE.sin())
    for a, b in zip(minus_v, PREDICTIONS.build("v").target(ANGLE.cos(), ANGLE.sin()), strict=True):
        torch.testing.assert_close(a, -b)


def test_edm_recovers_x_0_from_pure_noise() -> None:
    """Where signal = 0 the output determines x_0, unlike ε."""
    from_x, from_output = PREDICTIONS.build("edm").x0_from(
        torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    )
    assert from_x.item() == 0
    assert from_output.item() == 0.5
