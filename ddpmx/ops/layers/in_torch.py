"""The layers of networks that have kernels, by torch alone: what the kernels are to give, and what runs where they do not."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=3, groups=x.shape[1])


def norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
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
    return conv3x3(norm(F.gelu(x) if gelu else x, gamma, beta, epsilon), weight, bias)
