"""A 3×3 convolution: torch's, or on CPUs the kernels of `csrc/winograd.h` where they are faster."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..autograd import Context
from ..choice import has_cpu_kernels
from . import in_torch, kernels
from .precision import convolved_dtype, runs_kernels

MIN_CHANNELS = 16  # kWidest in csrc/layer_ops.h
MIN_TILES = 48  # with fewer tiles, transforming the weight costs more than it saves


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 convolution with a margin of zeros.

    ::

        out[n, o, y, x] = bias[o] + Σ_cij weight[o, c, i, j]·x[n, c, y + i − 1, x + j − 1]

    x is [n, c, h, w], weight [o, c, 3, 3], bias [o]. The function is `torch.nn.functional.conv2d`, also under
    autocast. If the kernel runs (on CPUs, in float32 or under autocast to bfloat16), the result is in
    channels_last order and can be differentiated once.
    """
    if not has_kernel(x, weight, bias):
        return in_torch.conv3x3(x, weight, bias)
    x = kernels.channels_last(x.to(convolved_dtype(x)))
    return cast(Tensor, _Conv3x3.apply(x, weight, bias))


def has_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether `conv3x3` runs the kernel."""
    if not has_cpu_kernels(x) or not runs_kernels(convolved_dtype(x), weight, bias):
        return False
    if x.ndim != 4 or weight.shape[1:] != (x.shape[1], 3, 3):
        return False
    tiles = x.shape[0] * -(-x.shape[2] // 4) * -(-x.shape[3] // 4)
    return min(weight.shape[:2]) >= MIN_CHANNELS and tiles >= MIN_TILES


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return kernels.convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = kernels.channels_last(gradient)
        grad_x = kernels.convolve_transposed(gradient, weight) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):
            return grad_x, None, None
        return grad_x, *kernels.convolution_gradient(x, gradient)
