"""The layers' kernels on bfloat16 images: the float32 kernels, whose images are rounded once.

At the level `avx512_bf16`, convolutions also round at the points of minimal filtering.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import rounding
import torch
from cpu_levels import LEVELS, at_level, needs_library
from rounding import ROUNDING_BFLOAT16
from torch import Tensor
from torch.nn import functional as F

from ddpmx import ops
from ddpmx.ops import library
from ddpmx.ops.layers import convolution, in_torch, precision

EPSILON = 1e-5
SHAPE = (19, 21, 9, 7)
"""Of the images, with parts of several images and a channel count that is no multiple of a vector."""
Layer = Callable[..., Tensor]


def attention(add: Layer) -> Layer:
    """A linear attention whose parameters are separate arguments."""

    def layer(x: Tensor, *values: Tensor) -> Tensor:
        q, k, v, out, bias, gamma_in, beta_in, gamma_out, beta_out = values
        norms = ((gamma_in, beta_in), (gamma_out, beta_out))
        return add(x, ops.AttentionParameters(3, q, k, v, out, bias, *norms, EPSILON))

    return layer


def norm_of(norm: Layer) -> Layer:
    return lambda x, gamma, beta: norm(x, gamma, beta, EPSILON)


def norm_conv3x3_of(norm_conv3x3: Layer) -> Layer:
    return lambda x, gamma, beta, weight, bias: norm_conv3x3(x, gamma, beta, EPSILON, weight, bias, gelu=True)


C, D = SHAPE[1], 3 * 8
CONV = ((18, C, 3, 3), (18,))
ATTENTION = ((D, C), (D, C), (D, C), (C, D), *[(C,)] * 5)
LAYERS: dict[str, tuple[Layer, Layer, tuple[tuple[int, ...], ...]]] = {
    "norm": (norm_of(ops.norm), norm_of(in_torch.norm), ((C,), (C,))),
    "conv3x3": (ops.conv3x3, in_torch.conv3x3, CONV),
    "norm_conv3x3": (
        norm_conv3x3_of(ops.norm_conv3x3),
        norm_conv3x3_of(in_torch.norm_conv3x3),
        ((C,), (C,), *CONV),
    ),
    "depthwise": (ops.depthwise, in_torch.depthwise, ((C, 1, 7, 7), (C,))),
    "linear_attention": (
        attention(ops.add_linear_attention),
        attention(in_torch.add_linear_attention),
        ATTENTION,
    ),
}
"""Each layer, the same in torch, and the shapes of its parameters."""
PAIRS = "avx512_bf16"
"""The level whose convolutions multiply pairs of bfloat16 numbers."""
KERNELS = ["norm", "conv3x3", "norm_conv3x3", "linear_attention"]


def tensors(name: str) -> list[Tensor]:
    """x and a gradient of the result, in bfloat16, and the parameters."""
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.randn(shape, generator=generator) / max(1, torch.Size(shape[1:]).numel()) ** 0.5
        for shape in LAYERS[name][2]
    ]
    shape = (SHAPE[0], 18 if "conv3x3" in name else C, *SHAPE[2:])
    x, g = (
        torch.randn(size, generator=generator).bfloat16().contiguous(memory_format=torch.channels_last)
        for size in (SHAPE, shape)
    )
    return [x, g, *parameters]


def run(layer: Layer, x: Tensor, g: Tensor, *parameters: Tensor, autocast: bool = True) -> list[Tensor]:
    """The result, then the gradients of x and the parameters. As in training, autocast ends before them."""
    inputs = [value.detach().requires_grad_() for value in (x, *parameters)]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = layer(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, g.to(y.dtype))]


@pytest.mark.parametrize("name", ["norm", "conv3x3", "linear_attention"])
def test_it_is_the_float32_kernel_with_images_rounded_once(level: str, name: str) -> None:
    """Bit for bit. The tests of the float32 kernels bound the errors of these."""
    if name == "conv3x3" and level == PAIRS:
        pytest.skip("rounds at the points too, which the next test is about")
    x, g, *parameters = tensors(name)
    narrow = run(LAYERS[name][0], x, g, *parameters)
    y, grad_x, *gradients = run(LAYERS[name][0], x.float(), g.float(), *parameters, autocast=False)
    expected = [y.bfloat16(), grad_x.bfloat16(), *gradients]
    for mine, rounded in zip(narrow, expected, strict=True):
        assert mine.dtype == rounded.dtype
        assert torch.equal(mine, rounded)


@pytest.mark.skipif(PAIRS not in LEVELS, reason="no bfloat16 instructions")
@pytest.mark.parametrize("shape", [(9, 18, 13, 18, 30), (19, 34, 7, 7, 16), (73, 16, 4, 3, 18)], ids=str)
def test_pairs_err_by_the_roundings_to_bfloat16_at_the_points(shape: tuple[int, ...]) -> None:
    """Also for odd numbers of tiles, and where memory beyond the pixels is not finite."""
    images, inputs, height, width, outputs = shape
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    x, g = (
        torch.full((images + 1, channels, height, width), torch.nan, dtype=torch.bfloat16).contiguous(
            memory_format=torch.channels_last
        )[:-1]
        for channels in (inputs, outputs)
    )
    for value in (x, g):
        value.copy_(torch.randn(value.shape, generator=generator))
    expected = [
        rounding.convolution(x, weight, bias, ROUNDING_BFLOAT16).stored(ROUNDING_BFLOAT16),
        *rounding.gradients(x, weight, g, ROUNDING_BFLOAT16),
    ]
    expected[1] = expected[1].stored(ROUNDING_BFLOAT16)
    with at_level(PAIRS):
        results = run(ops.conv3x3, x, g, weight, bias)
    for mine, rounded in zip(results, expected, strict=True):
        errors = (mine.double() - rounded.value).square() / rounded.variance
        assert float(errors.mean()) < (1 + 2 / mine.numel() ** 0.5) ** 2
        assert float(errors.max()) < 6**2


@pytest.mark.parametrize("name", KERNELS)
def test_errors_compared_with_torchs_own_bfloat16(level: str, name: str) -> None:
    ours, torchs, _ = LAYERS[name]
    values = tensors(name)
    truth = run(torchs, *(value.double() for value in values), autocast=False)
    rounds_at_points = level == PAIRS and "conv3x3" in name
    for mine, theirs, exact in zip(run(ours, *values), run(torchs, *values), truth, strict=True):
        size = float(exact.norm())
        error, theirs_error = (float((value.double() - exact).norm()) for value in (mine, theirs))
        assert error < (2**-5 if rounds_at_points else 2**-8) * size
        assert rounds_at_points or error <= 1.1 * theirs_error + 1e-6 * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_dtypes_are_those_of_torch_under_autocast(name: str, dtype: torch.dtype) -> None:
    x, g, *parameters = tensors(name)
    if dtype == torch.float64:
        parameters = [parameter.double() for parameter in parameters]
    inputs = (x.to(dtype), g, *parameters)
    results = [[value.dtype for value in run(layer, *inputs)] for layer in LAYERS[name][:2]]
    assert results[0] == results[1]


@needs_library
@pytest.mark.parametrize("name", KERNELS)
def test_threads_other_images_and_layouts_do_not_matter(name: str) -> None:
    layer = LAYERS[name][0]
    x, g, *parameters = tensors(name)
    usual, threads = run(layer, x, g, *parameters), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        others = run(layer, x.contiguous(), g.contiguous(), *parameters)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(usual, others, strict=True))
    y, grad_x, *_ = run(layer, x[3:14], g[3:14], *parameters)
    assert torch.equal(y, usual[0][3:14])
    assert torch.equal(grad_x, usual[1][3:14])


def test_rounding_is_to_nearest_even_and_keeps_what_is_not_finite(level: str) -> None:
    """The convolution of zeros is the bias."""
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 3.4e38, -3.4e38, 1e-40])
    bias = torch.cat((1 + torch.arange(17) * 2.0**-9, -3 - torch.arange(10) * 2.0**-8, special))
    zeros, weight = torch.zeros(50, 16, 4, 4).bfloat16(), torch.ones(34, 16, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.conv3x3(zeros, weight, bias)
        assert torch.equal(y, bias.bfloat16().view(1, -1, 1, 1).expand(y.shape))
        assert ops.conv3x3(zeros, weight, bias * torch.nan).isnan().all()


def test_what_the_kernels_do_not_take_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, gamma, beta = tensors("norm")
    weight, bias = tensors("conv3x3")[2:]
    assert not precision.runs_kernels(torch.bfloat16, gamma)  # without autocast
    assert torch.equal(ops.norm(x, gamma, beta, EPSILON), F.group_norm(x, 1, gamma, beta, EPSILON))
    with torch.autocast("cpu", torch.float16):
        assert not convolution.has_kernel(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert not precision.runs_kernels(torch.bfloat16, gamma.bfloat16())
        assert precision.runs_kernels(torch.bfloat16, gamma) == ops.backends()["cpp"]
        monkeypatch.setattr(library, "layer_dtypes", lambda: ["float32"])  # as of an older library
        assert not convolution.has_kernel(x, weight, bias)
        assert ops.conv3x3(x, weight, bias).dtype == torch.bfloat16
