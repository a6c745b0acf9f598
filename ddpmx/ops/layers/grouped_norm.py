"""GroupNorm of any number of groups, alone, before SiLU, or before SiLU and a 3×3 convolution.

It is torch's, or on CPUs the kernels of `csrc/group_norm.h` and `csrc/winograd.h`. For the backward pass, the
kernels keep only their inputs, and the convolution's input is computed again.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..autograd import Context
from ..choice import has_cpu_kernels
from ..library import OPERATORS
from . import convolution, in_torch, kernels
from .in_torch import GroupNormParameters
from .precision import convolved_dtype, runs_kernels


def group_norm(x: Tensor, norm: GroupNormParameters, *, silu: bool = False) -> Tensor:
    """(x − mean)/√(variance + epsilon)·gamma + beta, with the mean and variance of each group of an image.

    x is [n, c, h, w]. Wu & He 2018, arXiv:1803.08494. With `silu`, the result z becomes z/(1 + e^−z)
    (Hendrycks & Gimpel 2016, arXiv:1606.08415). If the kernel runs (on CPUs, for float32 or under autocast
    bfloat16), the result has the dtype of x, is in channels_last order and can be differentiated once.
    """
    if not _has_kernel(x, norm):
        return in_torch.group_norm(x, norm, silu=silu)
    inputs = (kernels.channels_last(x), norm.gamma, norm.beta)
    return cast(Tensor, _GroupNorm.apply(*inputs, (norm.groups, norm.epsilon), silu))


def silu_conv3x3(x: Tensor, norm: GroupNormParameters, weight: Tensor, bias: Tensor) -> Tensor:
    """`conv3x3` of the SiLU of the `group_norm` of x."""
    one_dtype = x.dtype == convolved_dtype(x)
    if not (one_dtype and _has_kernel(x, norm) and convolution.has_kernel(x, weight, bias)):
        return convolution.conv3x3(group_norm(x, norm, silu=True), weight, bias)
    inputs = (kernels.channels_last(x), norm.gamma, norm.beta, weight, bias)
    return cast(Tensor, _SiluConv3x3.apply(*inputs, (norm.groups, norm.epsilon)))


def _has_kernel(x: Tensor, norm: GroupNormParameters) -> bool:
    if "group_normalise" not in OPERATORS:  # a library that was built from older sources
        return False
    fits = x.ndim == 4 and x.shape[1] % norm.groups == 0 and x.numel() > 0
    return has_cpu_kernels(x) and fits and runs_kernels(x.dtype, norm.gamma, norm.beta)


class _GroupNormContext(Context, Protocol):
    silu: bool


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _GroupNormContext, x: Tensor, gamma: Tensor, beta: Tensor, shape: tuple[int, float], silu: bool
    ) -> Tensor:
        y, statistics = kernels.group_normalise(x, (gamma, beta), *shape, silu)
        ctx.save_for_backward(x, gamma, beta, statistics)
        ctx.silu = silu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: _GroupNormContext, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, statistics = ctx.saved_tensors
        gradients = kernels.group_normalise_gradient(
            x, kernels.channels_last(gradient), (gamma, beta), ctx.silu, statistics
        )
        return *gradients, None, None


class _SiluConv3x3Context(Context, Protocol):
    shape: tuple[int, float]  # the number of groups, and epsilon


class _SiluConv3x3(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _SiluConv3x3Context,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor,
        shape: tuple[int, float],
    ) -> Tensor:
        ctx.save_for_backward(x, gamma, beta, weight)
        ctx.shape = shape
        activated, _ = kernels.group_normalise(x, (gamma, beta), *shape, silu=True)
        return kernels.convolve(activated, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: _SiluConv3x3Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, weight = ctx.saved_tensors
        gradient = kernels.channels_last(gradient)
        activated, statistics = kernels.group_normalise(x, (gamma, beta), *ctx.shape, silu=True)
        weights: tuple[Tensor | None, ...] = (None, None)
        if any(ctx.needs_input_grad[3:5]):
            weights = kernels.convolution_gradient(activated, gradient)
        del activated  # a step's memory is at its peak here
        upstream = kernels.convolve_transposed(gradient, weight)
        gradients = kernels.group_normalise_gradient(
            x, upstream, (gamma, beta), True, statistics, overwrite=True
        )
        return *gradients, *weights, None
