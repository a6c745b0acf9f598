"""Calls of the layers' CPU kernels: tensors for the results are made here, and `csrc/` fills them in.

The callers pass what the kernels support; the operators refuse everything else. Images, their gradients and
results have the dtype of x: float32 or bfloat16, which is rounded once. Everything else is float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..library import OPERATORS


def channels_last(x: Tensor) -> Tensor:
    """x [n, c, h, w] in the order that the kernels take."""
    return x.contiguous(memory_format=torch.channels_last)


def depthwise_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the weight [c, 1, 7, 7] and bias [c] of `ops.depthwise`, float32.

    `gradient` is that of its result, here and below.
    """
    grad_weight, grad_bias = (
        x.new_empty(shape, dtype=torch.float32) for shape in ((x.shape[1], 1, 7, 7), (x.shape[1],))
    )
    OPERATORS["depthwise_gradient"](x, gradient, grad_weight, grad_bias)
    return grad_weight, grad_bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 convolution of stride 1; x and the result are channels_last."""
    return _convolve(x, weight, bias, transposed=False)


def convolve_transposed(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the x of `convolve`: a convolution with the transposed weight, rotated by 180°."""
    return _convolve(gradient, weight, None, transposed=True)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    shape = (x.shape[0], weight.shape[int(transposed)], *x.shape[2:])
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    OPERATORS["convolve"](x, weight, bias, transposed, out)
    return out


def convolution_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the weight [o, c, 3, 3] and bias [o] of `convolve`."""
    grad_weight, grad_bias = (
        x.new_empty(shape, dtype=torch.float32)
        for shape in ((gradient.shape[1], x.shape[1], 3, 3), (gradient.shape[1],))
    )
    OPERATORS["convolution_gradient"](x, gradient, grad_weight, grad_bias)
    return grad_weight, grad_bias


def normalise(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, gelu: bool) -> tuple[Tensor, Tensor]:
    """GroupNorm of one group of x [n, c, h, w] (channels_last) or of its GELU.

    The second result has the statistics that `normalise_gradient` needs.
    """
    out, statistics = torch.empty_like(x), x.new_empty((2, x.shape[0]), dtype=torch.float32)
    OPERATORS["normalise"](x, gamma, beta, epsilon, gelu, out, statistics)
    return out, statistics


def normalise_gradient(
    x: Tensor, gradient: Tensor, gamma: Tensor, gelu: bool, statistics: Tensor, *, overwrite: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the x, gamma and beta of `normalise`. `overwrite`: that of x overwrites `gradient`."""
    grad_x = gradient if overwrite else torch.empty_like(x)
    grad_gamma, grad_beta = torch.empty_like(gamma), torch.empty_like(gamma)
    OPERATORS["normalise_gradient"](x, gradient, gamma, gelu, statistics, grad_x, grad_gamma, grad_beta)
    return grad_x, grad_gamma, grad_beta


def group_normalise(
    x: Tensor, weights: Sequence[Tensor], groups: int, epsilon: float, silu: bool
) -> tuple[Tensor, Tensor]:
    """GroupNorm of x [n, c, h, w] (channels_last) with gamma and beta, or its SiLU.

    The second result has the statistics that `group_normalise_gradient` needs.
    """
    out, statistics = torch.empty_like(x), x.new_empty((x.shape[0], groups, 2), dtype=torch.float32)
    OPERATORS["group_normalise"](x, _contiguous(weights), epsilon, silu, out, statistics)
    return out, statistics


def group_normalise_gradient(
    x: Tensor,
    gradient: Tensor,
    weights: Sequence[Tensor],
    silu: bool,
    statistics: Tensor,
    *,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the x, gamma and beta of `group_normalise`. `overwrite` as in `normalise_gradient`."""
    grad_x = gradient if overwrite else torch.empty_like(x)
    of_gamma, of_beta = (
        torch.empty_like(weight, memory_format=torch.contiguous_format) for weight in weights
    )
    OPERATORS["group_normalise_gradient"](
        x, gradient, _contiguous(weights), silu, statistics, grad_x, (of_gamma, of_beta)
    )
    return grad_x, of_gamma, of_beta


def _contiguous(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.contiguous() for weight in weights]


def linear_attention(x: Tensor, weights: Sequence[Tensor], epsilon: float) -> tuple[Tensor, Tensor]:
    """x [n, c, h, w] (channels_last) plus its linear attention between two norms.

    `weights` are gamma and beta of the first norm, q, k, mix and bias of `AttentionParameters`, and gamma and
    beta of the second norm, all contiguous. The second result has the statistics that
    `linear_attention_gradient` needs.
    """
    out, statistics = torch.empty_like(x), x.new_empty((x.shape[0], 2, 2), dtype=torch.float32)
    OPERATORS["linear_attention"](x, weights, epsilon, out, statistics)
    return out, statistics


def linear_attention_gradient(
    x: Tensor, gradient: Tensor, weights: Sequence[Tensor], statistics: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The gradients of the x and weights of `linear_attention`."""
    grad_x, of_weights = torch.empty_like(x), [torch.empty_like(weight) for weight in weights]
    OPERATORS["linear_attention_gradient"](x, gradient, weights, statistics, grad_x, of_weights)
    return grad_x, of_weights
