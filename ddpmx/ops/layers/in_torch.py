"""The network layers that have kernels, in plain PyTorch.

They define what the kernels compute, and run where there is no kernel.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 convolution with a margin of zeros."""
    return F.conv2d(x, weight, bias, padding=1)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depthwise 7×7 convolution."""
    return F.conv2d(x, weight, bias, padding=3, groups=x.shape[1])


def norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """GroupNorm of one group."""
    return F.group_norm(x, 1, gamma, beta, epsilon)


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
    """A norm, or the norm of the GELU, and then a 3×3 convolution."""
    return conv3x3(norm(F.gelu(x) if gelu else x, gamma, beta, epsilon), weight, bias)
