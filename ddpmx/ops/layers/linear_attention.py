"""Linear attention between two norms, added to its input: in torch, or on CPUs in one kernel.

The kernel is in `csrc/attention.h`. For the backward pass, it keeps only its inputs and the norms'
statistics. The backward pass computes everything else again, one image at a time.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..autograd import Context
from ..choice import has_cpu_kernels
from ..library import OPERATORS
from . import in_torch, kernels
from .in_torch import AttentionParameters
from .normalisation import norm
from .precision import runs_kernels

MAX_RATIO = 4
"""The kernel takes at most so many channels for each feature of a head or for each position. It applies v and
out as one matrix [c, c], which in wider networks costs more than one after the other."""


def add_linear_attention(x: Tensor, w: AttentionParameters) -> Tensor:
    """x + norm(y), where y is linear attention of n = norm(x) (Shen et al. 2018, arXiv:1812.01243).

    ::

        y[p] = out·concat over heads(softmax over d(q·n[p])·(Σ_r softmax over r(k·n[r])ᵀ·v·n[r]))/√d + bias

    x is [n, c, h, w]; p and r are positions. If the kernel runs (on CPUs, for float32 or under autocast
    bfloat16), the result has the dtype of x, is in channels_last order and can be differentiated once.
    """
    if not fuses_linear_attention(x, w):
        y = in_torch.linear_attention(norm(x, *w.norm_in, w.epsilon), w)
        return x + norm(y, *w.norm_out, w.epsilon)
    with torch.autocast("cpu", enabled=False):
        weights = (*w.norm_in, w.q, w.k, w.mix(), w.bias, *w.norm_out)
    x = kernels.channels_last(x)
    return cast(Tensor, _LinearAttention.apply(x, w.epsilon, *(weight.contiguous() for weight in weights)))


def fuses_linear_attention(x: Tensor, w: AttentionParameters) -> bool:
    """Whether `add_linear_attention` is one kernel, which keeps little more than x for the backward pass."""
    if not has_cpu_kernels(x) or x.ndim != 4:
        return False
    if "linear_attention" not in OPERATORS:  # a library that was built from older sources
        return False
    if not runs_kernels(x.dtype, w.q, w.k, w.v, w.out, w.bias, *w.norm_in, *w.norm_out):
        return False
    positions, head = x.shape[2] * x.shape[3], w.q.shape[0] // w.heads
    is_narrow = x.shape[1] <= MAX_RATIO * max(head, positions)
    return positions > 0 and is_narrow


class _LinearAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        y, statistics = kernels.linear_attention(x, weights, epsilon)
        ctx.save_for_backward(x, statistics, *weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, statistics, *weights = ctx.saved_tensors
        gradient = kernels.channels_last(gradient)
        grad_x, of_weights = kernels.linear_attention_gradient(x, gradient, weights, statistics)
        return grad_x, None, *of_weights
