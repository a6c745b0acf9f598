"""The hot math: noise, noising, loss and the reverse step. `reference.py` defines it; the fastest backend built runs it.
May be imported by models, spec, sampling, training, metrics, runs, exchange.

**Noise** is a function of (seed, stream, sample id), not a state: the same three give the same numbers, bit for bit, on every
backend, device, batch size and process count. An op takes them as `noise=Noise(seed, stream, sample_ids)`, or as the
keywords `seed`, `stream` and `sample_ids`; then `noise` may be ε itself, float32 or of x's dtype and shaped like x, and
none is drawn. A call that mixes the two ways, or lacks one of the three, is a TypeError. `streams.py` lists ddpmx's own uses.

**Tensors** are [B, …] of any shape and layout, on one device, in float32, bfloat16 or float64; inputs are changed only where
they are given as `out`, and `out` may share memory with no other input than x. float32 and bfloat16 are computed in float32,
float64 in float64 (from the same float32 noise). Per-sample vectors are float32 [B], or float64 with float64 tensors.

The layers of networks that have kernels are in `layers/`, a room of their own: they use no noise.

A wrong dtype is a TypeError, a wrong shape, device or range a ValueError; both name the argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..rows import Row
from .choice import active, backends, use_backend
from .generator import bits, normal, uniform
from .layers import conv3x3, depthwise, norm, norm_conv3x3
from .noise import Noise, one
from .operations import NORMS, AddNoise, ReverseStep, WeightedLoss
from .pixels import fetch
from .running import run
from .streams import Purpose, stream

__all__ = [
    "NORMS",
    "Noise",
    "Purpose",
    "active",
    "add_noise",
    "backends",
    "bits",
    "conv3x3",
    "depthwise",
    "fetch",
    "norm",
    "norm_conv3x3",
    "normal",
    "reverse_step",
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

    Both products are rounded, then their sum: equal bit for bit on every backend. `out` may be `x_start`.
    Raises RuntimeError when grad mode is on and an input requires a gradient.
    """
    return run(AddNoise(x_start, signal, sigma, one(noise, seed, stream, sample_ids), out), x_start)


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
    """loss[b] = weight[b] · mean over elements of norm(r), r = output − (target_x[b]·x_start + target_eps[b]·ε): float32 [B].

    `norm`: l1 is |r|, l2 is r² (without the half), huber is r²/2 for |r| ≤ delta and delta·(|r| − delta/2) beyond.
    Differentiable in `output` only, whose gradient has its dtype: no other argument gets one. `x_start` may have another
    dtype than `output`; `noise` is float32 or of the dtype of `x_start`.
    """
    key = one(noise, seed, stream, sample_ids)
    return run(WeightedLoss(output, x_start, target_x, target_eps, weight, key, norm, delta), output)


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

        x0 = x0_from_x·x + x0_from_output·output, then bounded to [−clip, clip]
        x' = c_x·x + c_x0·x0 + c_anchor·anchor + c_history[0]·history[0] + … + c_noise·ε
        m  = m_x·x + m_x0·x0

    Sums run from the left; coefficients, products and sums are rounded to float32 (float64 for float64), and only x' and m
    to the dtype of `x`. A term whose coefficient is 0 is left out, and its tensor may be missing. `output` may have another
    dtype; `history` (newest first) and `anchor` have that of `x`. `clip` is a number above 0, or [B] of them, or None.
    `out` receives x' and may be `x`; without `want_m`, m is None, which saves its memory.

    Raises RuntimeError when grad mode is on and an input requires a gradient.
    """
    key = one(noise, seed, stream, sample_ids)
    return run(ReverseStep(x, output, row, tuple(history), anchor, clip, key, out, want_m), x)
