"""GroupNorm of one group, alone and before a 3×3 convolution: torch's, but on CPUs by the kernels of `csrc/norm.h` and `csrc/winograd.h`.

The kernels keep nothing for the backward pass but what comes in. What the convolution reads is made once more there: the norm is
cheap, and a network's largest tensors need not be kept.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..autograd import Context
from ..choice import has_cpu_kernels
from . import convolution, in_torch, kernels


def norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """(x − mean)/√(variance + epsilon)·gamma + beta, with the mean and variance of each image; x [n, c, h, w], gamma and beta [c].

    Wu & He 2018, arXiv:1803.08494. It is `torch.nn.functional.group_norm` of one group, under autocast too; where the kernel runs (on
    CPUs, in float32) the result is in channels_last order and can be differentiated once.
    """
    if not _has_kernel(x, gamma, beta):
        return in_torch.norm(x, gamma, beta, epsilon)
    return cast(Tensor, _Norm.apply(_channels_last(x), gamma, beta, epsilon))


def norm_conv3x3(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float,
    weight: Tensor,
    bias: Tensor,
    *,
    gelu: bool = False,
) -> Tensor:
    """`conv3x3` of the `norm` of x, or of x's GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    if not (_has_kernel(x, gamma, beta) and convolution.has_kernel(x, weight, bias)):
        return convolution.conv3x3(norm(F.gelu(x) if gelu else x, gamma, beta, epsilon), weight, bias)
    return cast(Tensor, _NormConv3x3.apply(_channels_last(x), gamma, beta, weight, bias, (epsilon, gelu)))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _has_kernel(x: Tensor, gamma: Tensor, beta: Tensor) -> bool:
    if not has_cpu_kernels(x) or torch.is_autocast_enabled("cpu"):
        return False
    return x.ndim == 4 and x.dtype == gamma.dtype == beta.dtype == torch.float32


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
        y, statistics = kernels.normalise(x, gamma, beta, epsilon, gelu=False)
        ctx.save_for_backward(x, gamma, statistics)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, statistics = ctx.saved_tensors
        return *kernels.normalise_gradient(x, _channels_last(gradient), gamma, False, statistics), None


class _NormConv3x3Context(Context, Protocol):
    norm: tuple[float, bool]  # epsilon, and whether of the GELU


class _NormConv3x3(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _NormConv3x3Context,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: tuple[float, bool],
    ) -> Tensor:
        ctx.save_for_backward(x, gamma, beta, weight)
        ctx.norm = norm
        normal, _ = kernels.normalise(x, gamma, beta, *norm)
        return kernels.convolve(normal, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: _NormConv3x3Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, weight = ctx.saved_tensors
        epsilon, gelu = ctx.norm
        gradient = _channels_last(gradient)
        normal, statistics = kernels.normalise(x, gamma, beta, epsilon, gelu)
        of_weight, of_bias = kernels.convolution_gradient(normal, gradient)
        del normal  # a step's memory is at its peak here
        of_normal = kernels.convolve(gradient, weight, None, turned=True)
        of_x, of_gamma, of_beta = kernels.normalise_gradient(
            x, of_normal, gamma, gelu, statistics, overwrite=True
        )
        return of_x, of_gamma, of_beta, of_weight, of_bias, None
