"""GroupNorm of several groups: alone, before SiLU and a convolution, compared with torch's in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cpu_levels import LEVELS, needs_library
from norm_inputs import norm_inputs, with_gradients
from torch import Tensor
from torch.nn import functional as F

from ddpmx import ops
from ddpmx.ops import GroupNormParameters, library
from ddpmx.ops.layers import kernels

CASES = [
    ((3, 32, 9, 7), 16),
    ((5, 48, 5, 3), 24),
    ((2, 33, 6, 5), 11),
    ((9, 6, 2, 2), 1),
    ((1, 2, 1, 1), 1),
    ((2, 2, 70, 61), 2),
    ((1, 16, 70, 61), 8),
]
"""Shapes and groups: 1, c/2 and c of them, pixels that are not whole vectors, and many rows."""
EPSILON = 1e-6


def torchs(groups: int, silu: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def function(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        y = F.group_norm(x, groups, gamma, beta, EPSILON)
        return y * torch.sigmoid(y) if silu else y

    return function


def ours(groups: int, silu: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def function(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return ops.group_norm(x, GroupNormParameters(groups, gamma, beta, EPSILON), silu=silu)

    return function


@pytest.mark.parametrize(("shape", "groups"), CASES, ids=str)
@pytest.mark.parametrize("silu", [False, True])
def test_the_norm_and_its_gradients_are_torchs_in_float64(
    level: str, shape: tuple[int, ...], groups: int, silu: bool
) -> None:
    x, gamma, beta, g = norm_inputs(shape)
    assert type(ours(groups, silu)(x.requires_grad_(), gamma, beta).grad_fn).__name__ == "_GroupNormBackward"
    exact = with_gradients(torchs(groups, silu), g.double(), x.double(), gamma.double(), beta.double())
    for mine, truth in zip(with_gradients(ours(groups, silu), g, x, gamma, beta), exact, strict=True):
        torch.testing.assert_close(
            mine.double(), truth, rtol=2e-6, atol=2e-6 * float(truth.abs().max()) + 1e-6
        )


def test_a_mean_far_from_zero_costs_no_digits(level: str) -> None:
    """The variance is not computed as a difference of large squares."""
    x, gamma, beta, _ = norm_inputs((4, 16, 12, 12))
    x = x + 1000
    exact = torchs(4, False)(x.double(), gamma.double(), beta.double())
    torch.testing.assert_close(ours(4, False)(x, gamma, beta).double(), exact, rtol=0, atol=1e-3)


def test_silu_is_exact_to_float32(level: str) -> None:
    """Relative to each value, down to e^−87. The norm changes nothing here: mean 0, and a scale of 1/64."""
    half = torch.cat((torch.linspace(0, 87, 5000), torch.logspace(-30, 1, 500)))
    x = torch.stack((half, -half), dim=1).view(1, 1, 1, -1)
    epsilon = 4096 - float(x.double().square().mean())
    y, statistics = kernels.group_normalise(
        x, (torch.full((1,), 64.0), torch.zeros(1)), 1, epsilon, silu=True
    )
    assert statistics.tolist() == [[[0.0, 1 / 64]]]
    exact = F.silu(x.double())
    torch.testing.assert_close(y.double(), exact, rtol=4e-7, atol=0)


def test_silu_of_large_values_is_the_value_or_0(level: str) -> None:
    x = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).requires_grad_()
    y = ours(1, True)(x, torch.full((1,), 1e4), torch.zeros(1))
    torch.testing.assert_close(y.detach().flatten(), torch.tensor([1e4, 0.0]), rtol=1e-5, atol=1e-30)
    y.sum().backward()
    assert bool(x.grad.isfinite().all())


def test_before_a_convolution_it_is_the_composition(level: str) -> None:
    x, gamma, beta, _ = norm_inputs((9, 28, 10, 9))
    generator = torch.Generator().manual_seed(1)
    weight, bias, g = (
        torch.randn(shape, generator=generator) for shape in ((19, 28, 3, 3), (19,), (9, 19, 10, 9))
    )

    def composed(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(torchs(14, True)(x, gamma, beta), weight, bias, padding=1)

    def fused(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ops.silu_conv3x3(x, GroupNormParameters(14, gamma, beta, EPSILON), weight, bias)

    values = (x, gamma, beta, weight, bias)
    result = fused(*(value.requires_grad_() for value in values))
    assert type(result.grad_fn).__name__ == "_SiluConv3x3Backward"
    exact = with_gradients(composed, g.double(), *(value.double() for value in values))
    for mine, truth in zip(with_gradients(fused, g, *values), exact, strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=1e-5, atol=1e-5 * float(truth.abs().max()))
    one = (x[:1, :, :3], gamma, beta, weight, bias)  # too few tiles for the convolution's kernel
    torch.testing.assert_close(
        fused(*one).double(), composed(*(value.double() for value in one)), rtol=1e-5, atol=1e-4
    )


@needs_library
def test_levels_threads_and_the_batch_change_no_bit() -> None:
    x, gamma, beta, g = norm_inputs((19, 24, 9, 10))
    results, threads, before = [], torch.get_num_threads(), library.cpu_level()

    def both(x: Tensor, g: Tensor) -> list[Tensor]:
        y, statistics = kernels.group_normalise(x, (gamma, beta), 12, EPSILON, silu=True)
        return [y, statistics, *kernels.group_normalise_gradient(x, g, (gamma, beta), True, statistics)]

    try:
        for name in LEVELS:
            library.set_cpu_level(name)
            for count in (1, 3):
                torch.set_num_threads(count)
                results.append(both(x, g))
    finally:
        torch.set_num_threads(threads)
        library.set_cpu_level(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    for image in (0, 18):
        alone = both(x[image : image + 1], g[image : image + 1])
        assert all(torch.equal(a[0], b[image]) for a, b in zip(alone[:3], results[0][:3], strict=True))


@needs_library
def test_what_is_not_finite_stays_in_its_group() -> None:
    x, gamma, beta, g = norm_inputs((2, 16, 6, 6))
    x[1, 3, 2, 2] = torch.nan
    y, statistics = kernels.group_normalise(x, (gamma, beta), 4, EPSILON, silu=True)
    grad_x, _, _ = kernels.group_normalise_gradient(x, g, (gamma, beta), True, statistics)
    for result in (y, grad_x):
        assert result[0].isfinite().all()
        assert result[1, :4].isnan().all()
        assert result[1, 4:].isfinite().all()


def test_what_the_kernel_does_not_take_torch_does() -> None:
    values = tuple(value.double() for value in norm_inputs((3, 32, 9, 7)))
    x, gamma, beta, g = values
    for mine, truth in zip(
        with_gradients(ours(16, False), g, x, gamma, beta),
        with_gradients(torchs(16, False), g, x, gamma, beta),
        strict=True,
    ):
        assert torch.equal(mine, truth)
    x, gamma, beta, _ = norm_inputs((3, 32, 9, 7))
    with ops.use_backend("reference"):
        assert torch.equal(ours(16, False)(x, gamma, beta), torchs(16, False)(x, gamma, beta))
    flat = ops.group_norm(x.flatten(2), GroupNormParameters(16, gamma, beta, EPSILON))
    torch.testing.assert_close(flat.view_as(x), torchs(16, False)(x, gamma, beta), rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="divisible"):
        ours(5, False)(x, gamma, beta)


@needs_library
def test_a_second_derivative_is_an_error() -> None:
    x, gamma, beta, _ = (value.requires_grad_() for value in norm_inputs((3, 32, 9, 7)))
    (gradient,) = torch.autograd.grad(ours(8, True)(x, gamma, beta).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@needs_library
def test_under_autocast_bfloat16_is_float32_rounded_once() -> None:
    x, gamma, beta, g = norm_inputs((9, 32, 10, 9))
    x, g = x.bfloat16(), g.bfloat16()
    exact = with_gradients(ours(16, True), g.float(), x.float(), gamma, beta)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = with_gradients(ours(16, True), g, x, gamma, beta)
    assert [value.dtype for value in rounded] == 2 * [torch.bfloat16] + 2 * [torch.float32]
    for mine, truth in zip(rounded, exact, strict=True):
        assert torch.equal(mine, truth.to(mine.dtype))
