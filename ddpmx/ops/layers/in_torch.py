"""The network layers that have kernels, in plain PyTorch.

They define what the kernels compute, and run where there is no kernel.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F


class AttentionParameters(NamedTuple):  # a dataclass would not run in a module that is not imported
    """The parameters of a linear attention of c channels between two norms. All heads have d features."""

    heads: int
    q: Tensor
    """Projection to the queries, [heads·d, c]; k and v are those to the keys and values."""
    k: Tensor
    v: Tensor
    out: Tensor
    """Projection of all heads' results, [c, heads·d]."""
    bias: Tensor
    """Added to those results, [c]."""
    norm_in: tuple[Tensor, Tensor]
    """gamma and beta, each [c], of the norm before the attention, and below of the one after it."""
    norm_out: tuple[Tensor, Tensor]
    epsilon: float
    """Added to both norms' variances."""

    def mix(self) -> Tensor:
        """v and then `out` of each head, divided by √d, as one matrix: [heads, c, c]."""
        c, d = self.q.shape[1], self.q.shape[0] // self.heads
        v = self.v.view(self.heads, d, c).transpose(1, 2)
        return cast(Tensor, v @ (self.out.view(c, self.heads, d).permute(1, 2, 0) * d**-0.5))


class GroupNormParameters(NamedTuple):
    """The parameters of a GroupNorm of c channels."""

    groups: int
    """Divides c. A group is c/groups neighbouring channels."""
    gamma: Tensor
    """Factor of each channel, [c]."""
    beta: Tensor
    """Added to each channel, [c]."""
    epsilon: float
    """Added to the variances."""


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


def group_norm(x: Tensor, norm: GroupNormParameters, *, silu: bool = False) -> Tensor:
    """GroupNorm, or its SiLU."""
    y = F.group_norm(x, norm.groups, norm.gamma, norm.beta, norm.epsilon)
    return F.silu(y) if silu else y


def silu_conv3x3(x: Tensor, norm: GroupNormParameters, weight: Tensor, bias: Tensor) -> Tensor:
    """GroupNorm, SiLU, and then a 3×3 convolution."""
    return conv3x3(group_norm(x, norm, silu=True), weight, bias)


def linear_attention(x: Tensor, w: AttentionParameters) -> Tensor:
    """Linear attention of x, between the two norms."""
    c, d = x.shape[1], w.q.shape[0] // w.heads
    rows = x.flatten(2).transpose(1, 2)  # [n, positions, c]
    q = F.linear(rows, w.q).unflatten(2, (w.heads, d)).softmax(dim=-1)
    k = F.linear(rows, w.k).softmax(dim=1)  # [n, positions, heads·d]
    keyed = (k.transpose(1, 2) @ rows).unflatten(1, (w.heads, d))  # [n, heads, d, c]
    context = keyed @ w.v.view(w.heads, d, c).transpose(1, 2)  # kᵀ·v: [n, heads, d, d]
    mix = context @ (w.out.view(c, w.heads, d).permute(1, 2, 0) * d**-0.5)  # [n, heads, d, c]
    y = torch.baddbmm(w.bias, q.flatten(2), mix.flatten(1, 2))  # [n, positions, c]
    return cast(Tensor, y.transpose(1, 2).unflatten(2, x.shape[2:]))


def add_linear_attention(x: Tensor, w: AttentionParameters) -> Tensor:
    """x plus its linear attention between two norms."""
    y = linear_attention(norm(x, *w.norm_in, w.epsilon), w)
    return x + norm(y, *w.norm_out, w.epsilon)


def fuses_linear_attention(x: Tensor, w: AttentionParameters) -> bool:
    """Whether `add_linear_attention` is one kernel: not here."""
    return False
