"""The depthwise 7×7 convolution of ConvNeXt blocks.

It is torch's, except for the weight gradient on CPUs, which a kernel of `csrc/depthwise.h` computes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..autograd import Context
from ..choice import has_cpu_kernels
from . import in_torch, kernels

SIDE, PADDING = 7, 3


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depthwise 7×7 convolution with a margin of zeros.

    ::

        out[n, c, y, x] = bias[c] + Σ_ij weight[c, 0, i, j]·x[n, c, y + i − 3, x + j − 3]

    x is [n, c, h, w], weight [c, 1, 7, 7], bias [c]. The function is `torch.nn.functional.conv2d`, also under
    autocast. If the kernel runs (on CPUs, for float32 weights), it can be differentiated once.
    """
    if torch.is_grad_enabled() and weight.requires_grad and _has_kernel(x, weight, bias):
        return cast(Tensor, _Depthwise.apply(x, weight, bias))
    return in_torch.depthwise(x, weight, bias)


def _has_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    if not has_cpu_kernels(x):
        return False
    fits = x.ndim == 4 and weight.shape == (x.shape[1], 1, SIDE, SIDE)
    return fits and x.dtype in (torch.float32, torch.bfloat16) and weight.dtype == bias.dtype == torch.float32


class _Depthwise(torch.autograd.Function):
    """The convolution. Torch computes the gradient of x; that of the weight is summed in float32."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return in_torch.depthwise(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            x_like, w = x.to(gradient.dtype), weight.to(gradient.dtype)
            options = (
                None,
                (1, 1),
                (PADDING, PADDING),
                (1, 1),
                False,
                (0, 0),
                x.shape[1],
                (True, False, False),
            )
            grad_x = torch.ops.aten.convolution_backward(gradient, x_like, w, *options)[0].to(x.dtype)
        return grad_x, *kernels.depthwise_gradient(x, gradient)
