"""The kernels of networks' layers on CPU tensors: results are made here, and `csrc/` fills them in.

What a kernel takes is said where it is called; its operator refuses everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..library import OPERATORS


def depthwise_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of `ops.depthwise`: the gradients of weight [c, 1, 7, 7] and bias [c], float32, from that of the result."""
    of_weight, of_bias = (
        x.new_empty(shape, dtype=torch.float32) for shape in ((x.shape[1], 1, 7, 7), (x.shape[1],))
    )
    OPERATORS["depthwise_gradient"](x, gradient, of_weight, of_bias)
    return of_weight, of_bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, turned: bool = False) -> Tensor:
    """3×3 of stride 1 on float32 in channels_last order; `turned`: from the gradient of the result to that of x."""
    shape = (x.shape[0], weight.shape[int(turned)], *x.shape[2:])
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    OPERATORS["convolve"](x, weight, bias, turned, out)
    return out


def convolution_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of `convolve`: the gradients of weight and bias from that of the result."""
    of_weight, of_bias = x.new_empty((gradient.shape[1], x.shape[1], 3, 3)), x.new_empty(gradient.shape[1])
    OPERATORS["convolution_gradient"](x, gradient, of_weight, of_bias)
    return of_weight, of_bias


def normalise(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, gelu: bool) -> tuple[Tensor, Tensor]:
    """GroupNorm of one group of x [n, c, h, w] (float32, channels_last) or of its GELU, and what `normalise_gradient` needs."""
    out, statistics = torch.empty_like(x), x.new_empty((2, x.shape[0]))
    OPERATORS["normalise"](x, gamma, beta, epsilon, gelu, out, statistics)
    return out, statistics


def normalise_gradient(
    x: Tensor, gradient: Tensor, gamma: Tensor, gelu: bool, statistics: Tensor, *, overwrite: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Of `normalise`: the gradients of x, gamma and beta from that of the result; that of x takes its place with `overwrite`."""
    of_x = gradient if overwrite else torch.empty_like(x)
    of_gamma, of_beta = torch.empty_like(gamma), torch.empty_like(gamma)
    OPERATORS["normalise_gradient"](x, gradient, gamma, gelu, statistics, of_x, of_gamma, of_beta)
    return of_x, of_gamma, of_beta
