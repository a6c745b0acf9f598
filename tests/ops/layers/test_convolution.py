"""The 3×3 convolution by minimal filtering, and its gradients, against torch's in float64."""

from __future__ import annotations

import pytest
import rounding
import torch
from cpu_levels import needs_library
from rounding import Rounded
from torch import Tensor
from torch.nn import functional as F

from ddpmx import ops
from ddpmx.ops.layers import convolution

SHAPES = [
    (3, 28, 28, 28, 56),
    (3, 18, 13, 18, 30),
    (19, 33, 7, 7, 16),
    (50, 16, 1, 3, 17),
    (9, 64, 12, 9, 48),
]
"""(images, inputs, height, width, outputs), with partial vectors and tiles, and parts of several chunks."""


def tensors(
    shape: tuple[int, ...], layout: torch.memory_format = torch.channels_last
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images, inputs, height, width, outputs = shape
    generator = torch.Generator().manual_seed(sum(shape))
    shapes = (
        (images, inputs, height, width),
        (outputs, inputs, 3, 3),
        (outputs,),
        (images, outputs, height, width),
    )
    x, weight, bias, g = (torch.randn(s, generator=generator) for s in shapes)
    return x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout), bias, g


def run(x: Tensor, weight: Tensor, bias: Tensor, g: Tensor, conv=ops.conv3x3) -> list[Tensor]:
    """The result, then the gradients of x, weight and bias."""
    x, weight, bias = (value.detach().clone().requires_grad_() for value in (x, weight, bias))
    y = conv(x, weight, bias)
    return [y.detach(), *torch.autograd.grad(y, (x, weight, bias), g)]


def theirs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def uses_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    return type(ops.conv3x3(x, weight.requires_grad_(), bias).grad_fn).__name__ == "_Conv3x3Backward"


def deviations(result: Tensor, rounded: Rounded) -> tuple[float, float]:
    """The root mean square and the maximum of the errors, in units of the standard deviation of rounding."""
    errors = (result.double() - rounded.value).square() / rounded.variance
    return float(errors.mean().sqrt()), float(errors.max().sqrt())


def is_rounded_only(result: Tensor, rounded: Rounded) -> bool:
    """Whether the errors are within the analysis: in total, with slack for few values, and singly."""
    total, largest = deviations(result, rounded)
    return total < 1 + 2 / result.numel() ** 0.5 and largest < 6


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_and_its_gradients_err_by_the_roundings_of_minimal_filtering(
    level: str, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    x, weight, bias, g = arguments = tensors(shape, layout)
    assert uses_kernel(*arguments[:3])
    exact = run(*(value.double() for value in arguments), conv=theirs)
    expected = (rounding.convolution(x, weight, bias), *rounding.gradients(x, weight, g))
    for ours, truth, rounded in zip(run(*arguments), exact, expected, strict=True):
        torch.testing.assert_close(rounded.value, truth, rtol=1e-9, atol=1e-12 * float(truth.abs().max()))
        assert is_rounded_only(ours, rounded), deviations(ours, rounded)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bound_on_roundings_tells_a_wrong_point_and_a_lost_digit(shape: tuple[int, ...]) -> None:
    x, weight, bias, _ = tensors(shape)
    rounded = rounding.convolution(x, weight, bias)
    to_points, weight_to_points, from_points = rounding.transforms()
    at_points = Rounded.exact(rounding.tiles(x, rounding.SIDE, 1)).transformed(to_points).value
    weights = Rounded.exact(weight).transformed(weight_to_points).value

    def result(at_points: Tensor, weights: Tensor) -> Tensor:
        products = torch.einsum("nctuij,ocij->notuij", at_points, weights)
        return rounding.untiled(Rounded.exact(products).transformed(from_points).value, x.shape) + bias.view(
            -1, 1, 1
        )

    assert is_rounded_only(result(at_points, weights), rounded)
    assert not is_rounded_only(result(without_a_digit(at_points), weights), rounded)
    assert not is_rounded_only(result(at_points, without_a_digit(weights)), rounded)
    for row in (0, 1, 3):  # the points 0, a and b
        wrong = weight_to_points.clone()
        wrong[row] *= 1 + 4e-6
        assert not is_rounded_only(result(at_points, Rounded.exact(weight).transformed(wrong).value), rounded)


def without_a_digit(values: Tensor) -> Tensor:
    """Values with 20 of the 24 binary digits of float32, about 6 of its 7 decimal digits."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2**20).round() / 2**20, exponent)


@needs_library
def test_all_numbers_of_threads_give_the_same_bits() -> None:
    arguments, results, threads = tensors((40, 21, 9, 10, 18)), [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(run(*arguments))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@needs_library
def test_an_images_result_does_not_depend_on_the_others() -> None:
    x, weight, bias, _ = tensors((90, 16, 7, 7, 24))
    whole = ops.conv3x3(x, weight, bias)
    assert torch.equal(ops.conv3x3(x[11:58], weight, bias), whole[11:58])


@needs_library
def test_nothing_beyond_the_pixels_reaches_the_result() -> None:
    """The last vector of channels reads memory beyond its pixel; NaN there does not reach the result."""
    x, weight, bias, g = tensors((13, 19, 8, 8, 21))
    room, room_g = torch.full((14, 19, 8, 8), torch.nan), torch.full((14, 21, 8, 8), torch.nan)
    wide, wide_g = (value.contiguous(memory_format=torch.channels_last) for value in (room, room_g))
    wide[:13], wide_g[:13] = x, g
    for ours, alone in zip(run(wide[:13], weight, bias, wide_g[:13]), run(x, weight, bias, g), strict=True):
        assert torch.equal(ours, alone)


def test_what_the_kernel_does_not_take_torch_does() -> None:
    few, narrow = tensors((2, 16, 8, 8, 16)), tensors((30, 3, 8, 8, 16))
    for arguments in (few, narrow, tuple(value.double() for value in tensors(SHAPES[0]))):
        assert not uses_kernel(*arguments[:3])
        for ours, torchs in zip(run(*arguments), run(*arguments, conv=theirs), strict=True):
            assert torch.equal(ours, torchs)
    with ops.use_backend("reference"):
        assert not uses_kernel(*tensors(SHAPES[0])[:3])
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.conv3x3(*tensors(SHAPES[0])[:3]).dtype == torch.bfloat16


def test_only_the_gradients_that_are_wanted_are_made(level: str) -> None:
    x, weight, bias, g = tensors(SHAPES[0])
    ops.conv3x3(x, weight.requires_grad_(), bias).backward(g)
    assert x.grad is None
    assert bias.grad is None
    torch.testing.assert_close(weight.grad, run(x, weight, bias, g)[2])


@needs_library
def test_a_second_derivative_is_an_error() -> None:
    x, weight, bias, _ = (value.requires_grad_() for value in tensors(SHAPES[0]))
    (gradient,) = torch.autograd.grad(ops.conv3x3(x, weight, bias).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@needs_library
def test_no_images_and_wrong_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "MIN_TILES", 0)
    monkeypatch.setattr(convolution, "MIN_CHANNELS", 0)
    x, weight, bias, _ = tensors((1, 16, 8, 8, 16))
    y, *gradients = run(x[:0], weight, bias, torch.zeros(0, 16, 8, 8))
    assert y.shape == (0, 16, 8, 8)
    assert not any(gradient.any() for gradient in gradients)
    for wrong in ((x, weight, bias[:3]), (x, weight[:, :9], bias), (x[:, :9], weight[:, :9], bias)):
        with pytest.raises(RuntimeError):
            ops.conv3x3(*wrong)
