"""The hot math: noise, noising, loss and the reverse step. `reference.py` defines it; the fastest backend built runs it.
May be imported by models, spec, sampling, training, metrics, runs, exchange.

**Noise** is a function of (sample id, stream, seed), not a state: the same three give the same numbers, bit for bit, on every
backend, device, batch size and process count. `sample_ids` is int64 [B], 0 or more; `stream` has 32 bits, see `stream()`; `seed`
is an int from −2⁶³ to 2⁶⁴ − 1, taken modulo 2⁶⁴. An op that is given `noise` (float32 or of x's dtype, shaped like x) draws none.

**Tensors** are [B, …] of any shape and layout, on one device, in float32, bfloat16 or float64; inputs are changed only where
they are given as `out`, and `out` may share memory with no other input than x. float32 and bfloat16 are computed in float32,
float64 in float64 (from the same float32 noise). Per-sample vectors are float32 [B], or float64 with float64 tensors.

A wrong dtype is a TypeError, a wrong shape, device or range a ValueError; both name the argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

import torch
from torch import Tensor

from ..rows import Row
from . import checks, native
from .choice import Backend, active, backend, backends, use_backend
from .convolution import conv3x3
from .depthwise import depthwise
from .fetch import fetch
from .noise import Noise, one
from .normalisation import norm, norm_conv3x3

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

NORMS = ("l1", "l2", "huber")
_NO_FLOAT64 = ("mps",)  # there the noise is made on the CPU and copied


class Purpose(IntEnum):
    """What random numbers are for, so that no two uses share them. The numbers are part of the definition: only add."""

    INIT = 0  # the noise that sampling starts from
    SAMPLE = 1  # the noise that a sampling step injects
    NOISE = 2  # ε of training
    TIME = 3  # the timestep of training
    ORDER = 4  # the order of the data
    FLIP = 5  # whether an image is mirrored
    VALIDATION_NOISE = 6
    VALIDATION_TIME = 7
    LABEL = 8  # whether training hides an image's class
    SELF_CONDITION = 9  # whether a training step runs the network twice
    KNOWN = 10  # the noise on what inpainting knows
    BOUND = 11  # ε of the metric bpd
    BOUND_TIME = 12


def stream(purpose: int, step: int) -> int:
    """The 32-bit stream of a purpose (a `Purpose`, or any int of 8 bits) at a step (24 bits): purpose·2²⁴ + step."""
    checks.integer("purpose", purpose, 0, 2**8)
    checks.integer("step", step, 0, 2**24)
    return int(purpose) << 24 | step


def normal(
    sample_ids: Tensor | None = None,
    stream: int | None = None,
    seed: int | None = None,
    shape: Sequence[int] | None = None,
    *,
    noise: Noise | None = None,
) -> Tensor:
    """Standard normal numbers, float32 [B, *shape], on the device of `sample_ids`. At most 2³⁴ elements a sample."""
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    shape = checks.sample_shape("shape", shape)
    if noise.sample_ids.device.type in _NO_FLOAT64:
        return normal(noise=_on_cpu(noise), shape=shape).to(noise.sample_ids.device)
    return backend(noise.sample_ids.device).normal(noise, shape)


def uniform(sample_ids: Tensor | None = None, stream: int | None = None, seed: int | None = None, *, noise: Noise | None = None) -> Tensor:
    """Uniform numbers in [0, 1) of 53 bits, float64 [B] (on the CPU where the device has no float64: MPS).

    Of the 63 `bits`, 27 of word 0 and 26 of word 1: ((word 0 >> 5)·2²⁶ + (word 1 >> 6))·2⁻⁵³.
    """
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    pair = bits(noise=_on_cpu(noise) if noise.sample_ids.device.type in _NO_FLOAT64 else noise)
    return (((pair >> 36) << 26) + ((pair & (2**31 - 1)) >> 5)).to(torch.float64) * 2.0**-53


def bits(sample_ids: Tensor | None = None, stream: int | None = None, seed: int | None = None, *, noise: Noise | None = None) -> Tensor:
    """63 random bits, int64 [B], 0 or more: word 0·2³¹ + (word 1 >> 1) of counter 0. Keys that sort into a random order."""
    noise = one(noise, seed, stream, sample_ids)
    checks.key(noise)
    return backend(noise.sample_ids.device).bits(noise)


def _on_cpu(noise: Noise) -> Noise:
    return Noise(noise.seed, noise.stream, noise.sample_ids.cpu())


def _quick(x: object, noise: Noise) -> Backend | None:
    """The native backend for tensors like x, where a first try without any checks is safe.

    Its operators refuse what does not fit, in a microsecond; only then are the checks made, to say in words what is wrong.
    """
    if type(x) is not Tensor or type(noise.seed) is not int or type(noise.stream) is not int:
        return None
    if x.dtype in native.DTYPES and not torch.compiler.is_compiling():
        module = backend(x.device)
        return module if module is native else None
    return None


def _made(noise: Noise, x: Tensor) -> Noise:
    """Noise with its ε, where the backend is not to make it."""
    if noise.given is None and x.device.type in _NO_FLOAT64:
        return replace(noise, given=normal(noise=noise, shape=x.shape[1:]))
    return noise


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
    noise = one(noise, seed, stream, sample_ids)
    quick = _quick(x_start, noise)
    if quick is not None and not checks.wants_gradient(x_start, signal, sigma, noise.given, out):
        try:
            return quick.add_noise(x_start, signal, sigma, noise, out)
        except native.REFUSALS:
            pass  # the checks say why
    checks.batch("x_start", x_start)
    checks.per_sample("x_start", x_start, signal=signal, sigma=sigma)
    checks.noise(noise, "x_start", x_start)
    checks.target(out, "x_start", x_start)
    checks.no_gradient("add_noise", x_start=x_start, signal=signal, sigma=sigma, noise=noise.given, out=out)
    return backend(x_start.device).add_noise(x_start, signal, sigma, _made(noise, x_start), out)


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
    noise = one(noise, seed, stream, sample_ids)
    quick = _quick(output, noise)
    if quick is not None and type(x_start) is Tensor and norm in NORMS and type(delta) is float and 0 < delta < math.inf:
        try:
            return quick.weighted_loss(output, x_start, target_x, target_eps, weight, noise, norm=norm, delta=delta)
        except native.REFUSALS:
            pass  # the checks say why
    checks.batch("output", output)
    checks.alike("x_start", x_start, "output", output, checks.FLOATS)
    checks.per_sample("output", output, target_x=target_x, target_eps=target_eps, weight=weight)
    checks.noise(noise, "x_start", x_start)
    if output.numel() == 0 and 0 in output.shape[1:]:
        raise ValueError(f"output should have an element in each sample, and has shape {list(output.shape)}")
    if norm not in NORMS:
        raise ValueError(f"norm should be one of {', '.join(NORMS)}, not {norm!r}")
    checks.positive("delta", delta)
    run = backend(output.device).weighted_loss
    return run(output, x_start, target_x, target_eps, weight, _made(noise, x_start), norm=norm, delta=delta)


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
    noise = one(noise, seed, stream, sample_ids)
    quick = _quick(x, noise)
    history = tuple(history)
    plain_clip = clip is None or type(clip) is Tensor or (type(clip) is float and 0 < clip < math.inf)
    graded = checks.wants_gradient(x, output, *history, anchor, clip, noise.given, out)
    if quick is not None and type(row) is Row and type(output) is Tensor and plain_clip and not graded:
        try:
            return quick.reverse_step(x, output, row, noise, history=history, anchor=anchor, clip=clip, out=out, want_m=want_m)
        except native.REFUSALS:
            pass  # the checks say why
    checks.batch("x", x)
    checks.alike("output", output, "x", x, checks.FLOATS)
    if not isinstance(row, Row):
        raise TypeError(f"row should be a ddpmx.Row, not {type(row).__name__}")
    for i, past in enumerate(history):
        checks.alike(f"history[{i}]", past, "x", x, (x.dtype,))
    if len(history) < len(row.c_history) and any(row.c_history[len(history) :]):
        raise ValueError(f"history has {len(history)} tensors, and row.c_history {len(row.c_history)} coefficients")
    if anchor is not None:
        checks.alike("anchor", anchor, "x", x, (x.dtype,))
    elif row.c_anchor != 0:
        raise ValueError("anchor is missing, and row.c_anchor is not 0")
    if isinstance(clip, Tensor):
        checks.per_sample("x", x, clip=clip)
    elif clip is not None:
        checks.positive("clip", clip)
    checks.noise(noise, "x", x)
    checks.target(out, "x", x)
    checks.no_gradient("reverse_step", x=x, output=output, history=history, anchor=anchor, clip=clip, noise=noise.given, out=out)
    noise = noise if row.c_noise == 0 else _made(noise, x)
    run = backend(x.device).reverse_step
    return run(x, output, row, noise, history=history, anchor=anchor, clip=clip, out=out, want_m=want_m)
