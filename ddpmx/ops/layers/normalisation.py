"""GroupNorm of one group, alone or before a 3×3 convolution: torch's, or on CPUs the kernels of `csrc/`.

They are in `csrc/norm.h` and `csrc/winograd.h`. For the backward pass, the kernels keep only their inputs.
The backward pass computes the convolution's input again: the norm is cheap, and a network's largest tensors
need not be kept.
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
from .precision import convolved_dtype, runs_kernels


def norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """(x − mean)/√(variance + epsilon)·gamma + beta, with the mean and variance of each image.

    x is [n, c, h, w], gamma and beta [c]. Wu & He 2018, arXiv:1803.08494. The function is
    `torch.nn.functional.group_norm` of one group, also under autocast. If the kernel runs (on CPUs, for
    float32 or under autocast bfloat16), the result has the dtype of x, is in channels_last order and can be
    differentiated once.
    """
    if not _has_kernel(x, gamma, beta):
        return in_torch.norm(x, gamma, beta, epsilon)
    return cast(Tensor, _Norm.apply(kernels.channels_last(x), gamma, beta, epsilon))


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
    one_dtype = x.dtype == convolved_dtype(x)
    if not (one_dtype and _has_kernel(x, gamma, beta) and convolution.has_kernel(x, weight, bias)):
        return convolution.conv3x3(norm(F.gelu(x) if gelu else x, gamma, beta, epsilon), weight, bias)
    return cast(
        Tensor, _NormConv3x3.apply(kernels.channels_last(x), gamma, beta, weight, bias, (epsilon, gelu))
    )


def _has_kernel(x: Tensor, gamma: Tensor, beta: Tensor) -> bool:
    return has_cpu_kernels(x) and x.ndim == 4 and runs_kernels(x.dtype, gamma, beta)


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
        return *kernels.normalise_gradient(x, kernels.channels_last(gradient), gamma, False, statistics), None


class _NormConv3x3Context(Context, Protocol):
    norm: tuple[float, bool]  # epsilon, and whether a GELU comes first


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
        normalised, _ = kernels.normalise(x, gamma, beta, *norm)
        return kernels.convolve(normalised, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: _NormConv3x3Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, weight = ctx.saved_tensors
        epsilon, gelu = ctx.norm
        gradient = kernels.channels_last(gradient)
        normalised, statistics = kernels.normalise(x, gamma, beta, epsilon, gelu)
        weights: tuple[Tensor | None, ...] = (None, None)
        if any(ctx.needs_input_grad[3:5]):
            weights = kernels.convolution_gradient(normalised, gradient)
        del normalised  # a step's memory is at its peak here
        grad_normalised = kernels.convolve_transposed(gradient, weight)
        grad_x, grad_gamma, grad_beta = kernels.normalise_gradient(
            x, grad_normalised, gamma, gelu, statistics, overwrite=True
        )
        return grad_x, grad_gamma, grad_beta, *weights, None
