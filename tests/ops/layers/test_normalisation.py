"""GroupNorm of one group: alone, after a GELU and before a convolution, compared with torch's in float64."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from cpu_levels import LEVELS, needs_library
from norm_inputs import norm_inputs, with_gradients
from torch import Tensor
from torch.nn import functional as F

from ddpmx import ops
from ddpmx.ops import library
from ddpmx.ops.layers import kernels

ROOT = Path(__file__).parents[3]
SHAPES = [(3, 28, 9, 7), (17, 33, 5, 5), (2, 224, 7, 7), (1, 16, 1, 1), (1, 1, 30, 70)]
EPSILON = 1e-5


def torchs(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return F.group_norm(x, 1, gamma, beta, EPSILON)


def ours(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return ops.norm(x, gamma, beta, EPSILON)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm_and_its_gradients_are_torchs_in_float64(level: str, shape: tuple[int, ...]) -> None:
    x, gamma, beta, g = norm_inputs(shape)
    exact = with_gradients(torchs, g.double(), x.double(), gamma.double(), beta.double())
    for mine, truth in zip(with_gradients(ours, g, x, gamma, beta), exact, strict=True):
        torch.testing.assert_close(
            mine.double(), truth, rtol=2e-6, atol=2e-6 * float(truth.abs().max()) + 1e-6
        )


def test_a_mean_far_from_zero_costs_no_digits(level: str) -> None:
    """The variance is not computed as a difference of large squares."""
    x, gamma, beta, _ = norm_inputs((4, 16, 12, 12))
    x = x + 1000
    exact = torchs(x.double(), gamma.double(), beta.double())
    torch.testing.assert_close(ours(x, gamma, beta).double(), exact, rtol=0, atol=1e-3)
    assert float((ours(x, gamma, beta).double() - exact).square().mean().sqrt()) < 1e-4


def test_gelu_is_exact_to_float32(level: str) -> None:
    """Also for large negative x, where 1 + erf loses its digits. The norm is undone in float64."""
    x = torch.cat((torch.linspace(-9, 9, 4000), torch.tensor([0.0, -0.0, 1e-30, 40.0, -40.0]))).view(
        1, 1, 1, -1
    )
    one, zero, exact = torch.ones(1), torch.zeros(1), F.gelu(x.double())
    y, statistics = kernels.normalise(x, one, zero, 0.0, gelu=True)
    value = y.double() / statistics[1].double() + statistics[0].double()
    torch.testing.assert_close(value, exact, rtol=3e-7, atol=1e-6)
    # the gradient of Σ y·g is slope·(g − mean of g − y·mean of g·y)·scale
    _, _, _, g = norm_inputs(tuple(x.shape))
    grad_x, _, _ = kernels.normalise_gradient(x, g, one, True, statistics)
    double = x.double().requires_grad_()
    (truth,) = torch.autograd.grad(F.gelu(double).sum(), double)
    inner = (g.double() - g.double().mean() - y.double() * (g.double() * y.double()).mean()) * statistics[
        1
    ].double()
    torch.testing.assert_close(grad_x.double(), truth * inner, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("gelu", [False, True])
def test_before_a_convolution_it_is_the_composition(level: str, gelu: bool) -> None:
    x, gamma, beta, _ = norm_inputs((9, 28, 10, 9))
    generator = torch.Generator().manual_seed(1)
    weight, bias, g = (
        torch.randn(shape, generator=generator) for shape in ((19, 28, 3, 3), (19,), (9, 19, 10, 9))
    )

    def composed(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(torchs(F.gelu(x) if gelu else x, gamma, beta), weight, bias, padding=1)

    def fused(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.norm_conv3x3(x, gamma, beta, EPSILON, weight, bias, gelu=gelu)

    inputs = (x, gamma, beta, weight, bias)
    assert (
        type(fused(*(value.requires_grad_() for value in inputs)).grad_fn).__name__ == "_NormConv3x3Backward"
    )
    exact = with_gradients(composed, g.double(), *(value.double() for value in inputs))
    for mine, truth in zip(with_gradients(fused, g, *inputs), exact, strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=1e-5, atol=1e-5 * float(truth.abs().max()))


@needs_library
def test_all_levels_and_numbers_of_threads_give_the_same_bits() -> None:
    x, gamma, beta, g = norm_inputs((19, 21, 9, 10))
    results, threads, before = [], torch.get_num_threads(), library.cpu_level()
    try:
        for name in LEVELS:
            library.set_cpu_level(name)
            for count in (1, 3):
                torch.set_num_threads(count)
                y, statistics = kernels.normalise(x, gamma, beta, EPSILON, gelu=True)
                results.append([y, statistics, *kernels.normalise_gradient(x, g, gamma, True, statistics)])
    finally:
        torch.set_num_threads(threads)
        library.set_cpu_level(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@needs_library
def test_what_is_not_finite_stays_so() -> None:
    x, gamma, beta, _ = norm_inputs((2, 16, 6, 6))
    x[1, 3, 2, 2] = torch.nan
    for gelu in (False, True):
        y, _ = kernels.normalise(x, gamma, beta, EPSILON, gelu)
        assert y[0].isfinite().all()
        assert y[1].isnan().all()


def test_what_the_kernel_does_not_take_torch_does() -> None:
    x, gamma, beta, g = (value.double() for value in norm_inputs(SHAPES[0]))
    for mine, truth in zip(
        with_gradients(ours, g, x, gamma, beta), with_gradients(torchs, g, x, gamma, beta), strict=True
    ):
        assert torch.equal(mine, truth)
    x, gamma, beta, _ = norm_inputs(SHAPES[0])
    with ops.use_backend("reference"):
        assert torch.equal(ours(x, gamma, beta), torchs(x, gamma, beta))
    weight, bias = torch.randn(5, 28, 3, 3), torch.randn(5)
    composed = F.conv2d(torchs(F.gelu(x), gamma, beta), weight, bias, padding=1)
    torch.testing.assert_close(
        ops.norm_conv3x3(x, gamma, beta, EPSILON, weight, bias, gelu=True), composed, rtol=0, atol=1e-4
    )


@needs_library
def test_a_second_derivative_is_an_error() -> None:
    x, gamma, beta, _ = (value.requires_grad_() for value in norm_inputs(SHAPES[0]))
    (gradient,) = torch.autograd.grad(ours(x, gamma, beta).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_constants_are_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of `tools/fit_gelu.py`, with the fit errors that the accuracy depends on."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("fit_gelu")
    assert (ROOT / "csrc/gelu_constants.h").read_text(encoding="utf-8") == tool.header()
    assert all(fit.rounded_error < 1e-7 for fit in tool.fits().values())
