"""The hot math: random numbers, adding noise, the loss and the reverse step.
May be imported by models, objective, spec, sampling, training, metrics, runs, exchange, api.

`reference.py` defines each operation in PyTorch; the fastest backend that is built runs it.

**Noise** is a function of (seed, stream, sample id), without state: the same three give the same numbers, bit
for bit, on every backend, device, batch size and process count. An op takes them as `noise=Noise(seed,
stream, sample_ids)`, or as the keywords `seed`, `stream` and `sample_ids`. `noise` may also be a tensor ε,
float32 or of x's dtype and shaped like x; nothing is drawn then, so the keywords may be left out. A call that
mixes the two forms, or lacks one of the three, raises TypeError. `streams.py` lists the streams that ddpmx
uses.

**Tensors** are [B, …] of any shape and layout, on one device, in float32, bfloat16 or float64. An input is
changed only when it is also passed as `out`; `out` may share memory with x, but with no other input. float32
and bfloat16 are computed in float32, float64 in float64 (from the same float32 noise). Per-sample vectors are
float32 [B], or float64 with float64 tensors.

The network layers that have kernels are in `layers/`. They use no noise.

A wrong dtype raises TypeError, a wrong shape, device or range ValueError. Both name the argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rows import Row
from .choice import active, backends, use_backend
from .generator import bits, normal, uniform
from .layers import (
    AttentionParameters,
    GroupNormParameters,
    add_linear_attention,
    conv3x3,
    depthwise,
    group_norm,
    norm,
    norm_conv3x3,
    silu_conv3x3,
)
from .noise import Noise, resolve_noise
from .operations import NORMS, AddNoise, ReverseStep, WeightedLoss
from .pixels import fetch
from .running import run
from .streams import Purpose, stream

__all__ = [
    "NORMS",
    "AttentionParameters",
    "GroupNormParameters",
    "Noise",
    "Purpose",
    "active",
    "add_linear_attention",
    "add_noise",
    "backends",
    "bits",
    "conv3x3",
    "depthwise",
    "fetch",
    "group_norm",
    "norm",
    "norm_conv3x3",
    "normal",
    "reverse_step",
    "silu_conv3x3",
    "stream",
    "uniform",
    "use_backend",
    "weighted_loss",
]


def add_noise(
    x_start: Tensor,
    signal: Tensor,
    sigma: Tensor,
    *,
    noise: Noise | Tensor | None = None,
    seed: int | None = None,
    stream: int | None = None,
    sample_ids: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """x_t = signal[b]·x_start + sigma[b]·ε, in the dtype of `x_start` (Ho et al. 2020, eq. 4).

    Both products are rounded, then their sum, so that every backend gives the same bits. `out` may be
    `x_start`. Raises RuntimeError when grad mode is on and an input requires a gradient.
    """
    resolved = resolve_noise(noise, seed, stream, sample_ids, x_start)
    return run(AddNoise(x_start, signal, sigma, resolved, out), x_start)


def weighted_loss(
    output: Tensor,
    x_start: Tensor,
    target_x: Tensor,
    target_eps: Tensor,
    weight: Tensor,
    *,
    norm: str = "l2",
    delta: float = 1.0,
    noise: Noise | Tensor | None = None,
    seed: int | None = None,
    stream: int | None = None,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """The loss of each sample, float32 [B], differentiable in `output` only.

    ::

        r = output − (target_x[b]·x_start + target_eps[b]·ε)
        loss[b] = weight[b] · mean over elements of norm(r)

    `norm` is "l1": |r|; "l2": r² (without the half); or "huber": r²/2 where |r| ≤ delta and
    delta·(|r| − delta/2) elsewhere.
    The gradient has the dtype of `output`. `x_start` may have another dtype than `output`; `noise`
    is float32 or of the dtype of `x_start`.
    """
    resolved = resolve_noise(noise, seed, stream, sample_ids, x_start)
    return run(WeightedLoss(output, x_start, target_x, target_eps, weight, resolved, norm, delta), output)


def reverse_step(
    x: Tensor,
    output: Tensor,
    row: Row,
    *,
    history: Sequence[Tensor] = (),
    anchor: Tensor | None = None,
    clip: float | Tensor | None = None,
    noise: Noise | Tensor | None = None,
    seed: int | None = None,
    stream: int | None = None,
    sample_ids: Tensor | None = None,
    out: Tensor | None = None,
    want_m: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """One row of a sampling plan: (x', m) in the dtype of `x`, by the formulas of `ddpmx.Row`.

    ::

        x0 = clamp(x0_from_x·x + x0_from_output·output, −clip, clip)
        x' = c_x·x + c_x0·x0 + c_anchor·anchor + c_history[0]·history[0] + … + c_noise·ε
        m  = m_x·x + m_x0·x0

    Sums run from left to right. Coefficients, products and sums are rounded to float32 (float64 for float64);
    only x' and m are rounded to the dtype of `x`. A term whose coefficient is 0 is skipped, and its tensor
    may be missing. `output` may have another dtype; `history` (newest first) and `anchor` have the dtype of
    `x`. `clip` is a number above 0, a tensor [B] of them, or None. `out` receives x' and may be `x`. With
    `want_m=False`, m is None, which saves its memory.

    Raises RuntimeError when grad mode is on and an input requires a gradient.
    """
    resolved = resolve_noise(noise, seed, stream, sample_ids, x)
    return run(ReverseStep(x, output, row, tuple(history), anchor, clip, resolved, out, want_m), x)
