"""The depthwise convolution, with our weight gradient, compared with torch's in float64."""

from __future__ import annotations

import pytest
import torch
from cpu_levels import LEVELS
from torch import Tensor
from torch.nn import functional as F

from ddpmx import ops
from ddpmx.ops import library

SHAPES = [(9, 28, 14, 14), (17, 3, 5, 9), (1, 1, 1, 1), (2, 18, 3, 28), (3, 32, 8, 7)]


def run(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor) -> list[Tensor]:
    """The result, then the gradients of x, weight and bias."""
    x, weight, bias = (value.clone().requires_grad_() for value in (x, weight, bias))
    y = ops.depthwise(x, weight, bias)
    return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), g)]


def exact(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor) -> list[Tensor]:
    x, weight, bias = (value.detach().double().requires_grad_() for value in (x, weight, bias))
    y = F.conv2d(x, weight, bias, padding=3, groups=x.shape[1])
    return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), g.double())]


def tensors(
    shape: tuple[int, ...], layout: torch.memory_format = torch.channels_last
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    shapes = (shape, (shape[1], 1, 7, 7), (shape[1],), shape)
    x, weight, bias, g = (torch.randn(s, generator=generator) for s in shapes)
    return x.contiguous(memory_format=layout), weight, bias, g


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_and_its_gradients_are_torchs_in_float64(
    level: str, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    arguments = tensors(shape, layout)
    for ours, theirs in zip(run(*arguments), exact(*arguments), strict=True):
        torch.testing.assert_close(
            ours.double(), theirs, rtol=1e-5, atol=2e-5 * float(theirs.abs().max().clamp(min=1))
        )


@pytest.mark.skipif(not LEVELS, reason="the library is not built")
def test_all_levels_and_numbers_of_threads_give_the_same_bits() -> None:
    arguments, results, threads = tensors((19, 21, 9, 10)), [], torch.get_num_threads()
    try:
        for name in LEVELS:
            library.set_cpu_level(name)
            for count in (1, 3):
                torch.set_num_threads(count)
                results.append(run(*arguments)[2:])  # the other results are torch's
    finally:
        torch.set_num_threads(threads)
        library.set_cpu_level(LEVELS[-1])
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_sums_of_the_weights_gradient_are_not_in_bfloat16(
    level: str, dtype: torch.dtype
) -> None:
    x, weight, bias, g = tensors((4, 6, 8, 8))
    x = x.to(dtype)
    y, grad_x, grad_weight, grad_bias = exact(x, weight, bias, g.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        ours = run(x, weight, bias, g.bfloat16())
    assert [value.dtype for value in ours] == [torch.bfloat16, dtype, torch.float32, torch.float32]
    # computed by torch, in this machine's bfloat16
    for mine, theirs in zip(ours[:2], (y, grad_x), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=2**-5, atol=2**-5 * float(theirs.abs().max()))
    for mine, theirs in zip(ours[2:], (grad_weight, grad_bias), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_what_the_kernel_does_not_take_torch_does() -> None:
    x, weight, bias, g = (value.double() for value in tensors((2, 4, 6, 6)))
    for ours, theirs in zip(run(x, weight, bias, g), exact(x, weight, bias, g), strict=True):
        assert torch.equal(ours, theirs)
    arguments = tensors((2, 4, 6, 6))
    with ops.use_backend("reference"):
        assert torch.equal(ops.depthwise(*arguments[:3]), F.conv2d(*arguments[:3], padding=3, groups=4))


def test_a_second_derivative_is_an_error(level: str) -> None:
    x, weight, bias, _ = (value.requires_grad_() for value in tensors((1, 2, 4, 4)))
    (gradient,) = torch.autograd.grad(
        ops.depthwise(x, weight, bias).square().sum(), weight, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_no_images_are_no_work() -> None:
    weight, bias = torch.randn(4, 1, 7, 7, requires_grad=True), torch.randn(4)
    y = ops.depthwise(torch.zeros(0, 4, 5, 5), weight, bias)
    assert y.shape == (0, 4, 5, 5)
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    assert torch.equal(gradient, torch.zeros(4, 1, 7, 7))
