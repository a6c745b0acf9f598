"""The definition of the hot math in plain PyTorch, on any device.

The native backends must give the same results; the noise bit for bit. Arguments are checked in `ddpmx.ops`,
not here.

Only these operations make the noise, each rounded by itself, so that C++ and CUDA can repeat them: integer
operations, conversions of signed 31-bit integers, float32 multiplications, additions and subtractions, and
one correctly rounded square root. There is no division and no fused multiply-add.

**Layout.** Element e of a sample, in logical (C) order, takes word (e >> 5) & 3 of Philox at the counter (c0,
stream, low word of the id, high word of the id), where c0 = (e >> 7)·32 + (e & 31). The key is the seed. So
128 elements take 32 counters of four words.

**Normal numbers** (Box and Muller 1958). Words (0, 1) and (2, 3) each make a pair of normal numbers: the
first word w gives the radius, the second word v the angle. The cosine goes where the first word was, the sine
where the second was::

    n = w >> 1                                      u = (n + ½)·2⁻³¹, never 0 or 1
    near = n > ⌊√½·2³¹⌋                             u near 1 would lose digits: use 1 − u, from n's complement
    g = (float(near ? n ^ (2³¹ − 1) : n) + 0.5)·2⁻³¹
    d = bits(g) − bits(√½)                          as int32
    k = near ? 0 : d >> 23                          u = 2ᵏ·(1 + f), √½ ≤ 1 + f < √2
    f = near ? −g : float_of_bits((d & (2²³ − 1)) + bits(√½)) − 1
    radius = sqrt(−2·(float(k)·LN2 + f·LOG(f)))     sqrt(−2·log u)

    q = v >> 30                                     the quadrant: angle = π/2·(q + a)
    a = (float((v & (2³⁰ − 1)) − 2²⁹) + 0.5)·2⁻³⁰   |a| ≤ ½
    s, c = a·SIN(a·a), COS(a·a)
    cosine = (c, −s, −c, s)[q], sine = (s, c, −s, −c)[q]

Polynomials are evaluated by Horner's rule from the highest coefficient: p = c[n−1], then p = p·x + c[i] for i
= n − 2 … 0. Their constants are in `constants.py`, fitted by `tools/fit_normal.py`. A number is within 5 ulp
and 1.3e-6 of the exact one, and at most 6.66 in absolute value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .constants import COS, LN2, LOG, SIN
from .noise import Noise
from .operations import AddNoise, ReverseStep, WeightedLoss
from .philox import MASK, philox

MAX_N = 2**31 - 1
SQRT_HALF = math.isqrt(2**61)  # √½ as n: ⌊√½·2³¹⌋
SQRT_HALF_BITS = 0x3F3504F3  # √½ as float32
MANTISSA = 2**23 - 1


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    p = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        p.add_(c).mul_(x)
    return p.add_(coefficients[0])


def _radius(w: Tensor) -> Tensor:
    """√(−2·log u) for words w, int64 in [0, 2³²)."""
    n = (w >> 1).to(torch.int32)
    near = n > SQRT_HALF
    g = torch.where(near, n ^ MAX_N, n).to(torch.float32).add_(0.5).mul_(2.0**-31)
    d = g.view(torch.int32) - SQRT_HALF_BITS
    k = torch.where(near, 0, d >> 23).to(torch.float32)
    f = torch.where(near, -g, d.bitwise_and_(MANTISSA).add_(SQRT_HALF_BITS).view(torch.float32) - 1.0)
    log_u = k.mul_(LN2) + _horner(LOG, f).mul_(f)
    return (
        log_u.mul_(-2.0).double().sqrt_().to(torch.float32)
    )  # in float64, because torch's float32 sqrt is not correctly rounded


def _cosine_sine(v: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles π/2·(q + a) of words v, int64 in [0, 2³²)."""
    a = ((v & (2**30 - 1)) - 2**29).to(torch.float32).add_(0.5).mul_(2.0**-30)
    q = (v >> 30).to(torch.int32)
    square = a * a
    s, c = _horner(SIN, square).mul_(a), _horner(COS, square)
    odd = (q & 1).bool()
    cosine_sign, sine_sign = 1 - ((q + 1) & 2), 1 - (q & 2)  # multiplying by ±1 is exact
    return torch.where(odd, s, c).mul_(cosine_sign), torch.where(odd, c, s).mul_(sine_sign)


def _words(noise: Noise, counters: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words [B, counters] for each of the counters 0 … counters − 1 of each sample."""
    checks.ids(noise.sample_ids)
    c0 = torch.arange(counters, dtype=torch.int64, device=noise.sample_ids.device)
    c1 = torch.full((), noise.stream, dtype=torch.int64, device=noise.sample_ids.device)
    ids = noise.sample_ids[:, None]
    return philox(c0, c1, ids & MASK, (ids >> 32) & MASK, noise.seed % 2**64)


def normal(noise: Noise, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 [B, *shape]."""
    batch, elements = len(noise.sample_ids), math.prod(shape)
    blocks = -(-elements // 128)
    words = [word.view(batch, blocks, 32) for word in _words(noise, blocks * 32)]
    radius = _radius(torch.stack((words[0], words[2]), dim=2))  # [B, blocks, pair, 32]
    cosine, sine = _cosine_sine(torch.stack((words[1], words[3]), dim=2))
    values = torch.stack((cosine.mul_(radius), sine.mul_(radius)), dim=3)  # [B, blocks, pair, 2, 32]
    return values.view(batch, blocks * 128)[:, :elements].reshape(batch, *shape).contiguous()


def bits(noise: Noise) -> Tensor:
    """63 random bits, int64 [B]: word 0·2³¹ + (word 1 >> 1) of counter 0."""
    first, second, *_ = _words(noise, 1)
    return (first[:, 0] << 31) + (second[:, 0] >> 1)


def _epsilon(noise: Noise, x: Tensor) -> Tensor:
    """ε for the batch x: the given tensor, or drawn from the generator."""
    return normal(noise, x.shape[1:]) if noise.given is None else noise.given


def _working(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the computation: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _broadcast(per_sample: Tensor, x: Tensor) -> Tensor:
    """A vector [B] as [B, 1, …, 1], which broadcasts to x, in x's dtype."""
    return per_sample.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def add_noise(op: AddNoise) -> Tensor:
    """x_t = signal·x_start + sigma·ε: both products rounded, then their sum."""
    checks.ids(op.noise.sample_ids)
    x = op.x_start.to(_working(op.x_start.dtype))
    epsilon = _epsilon(op.noise, x)
    # x_t = signal·x_start + sigma·ε
    x_t = _broadcast(op.signal, x) * x + _broadcast(op.sigma, x) * epsilon.to(x.dtype)
    return x_t.to(op.x_start.dtype) if op.out is None else op.out.copy_(x_t)


def weighted_loss(op: WeightedLoss) -> Tensor:
    """loss[b] = weight[b] · mean of norm(output − (target_x·x_start + target_eps·ε)), float32 [B]."""
    checks.ids(op.noise.sample_ids)
    value = op.output.to(_working(op.output.dtype))
    with torch.no_grad():
        x_start, epsilon = op.x_start.to(value.dtype), _epsilon(op.noise, op.x_start).to(value.dtype)
        # target_x·x_start + target_eps·ε
        target = _broadcast(op.target_x, value) * x_start + _broadcast(op.target_eps, value) * epsilon
    if op.norm == "l1":
        errors = (value - target).abs()
    elif op.norm == "l2":
        errors = (value - target).square()
    else:
        errors = F.huber_loss(value, target, reduction="none", delta=op.delta)
    mean = errors.reshape(len(errors), math.prod(errors.shape[1:])).mean(1)
    return (mean * op.weight.detach().to(value.dtype)).to(torch.float32)


def _combination(terms: Iterable[tuple[float, Tensor]], x: Tensor) -> Tensor:
    """Σ c·tensor in x's dtype, from left to right. Each product and sum is rounded; c = 0 skips a term."""
    total = None
    for c, tensor in terms:
        if c != 0:
            term = tensor.to(x.dtype) * c
            total = term if total is None else total.add_(term)
    return torch.zeros_like(x) if total is None else total


def reverse_step(op: ReverseStep) -> tuple[Tensor, Tensor | None]:
    """One row: the clipped x0, then x' and m, each a sum of its terms in the order of `ddpmx.Row`."""
    checks.ids(op.noise.sample_ids)
    x, row, clip = op.x.to(_working(op.x.dtype)), op.row, op.clip
    # x0 = clip(x0_from_x·x + x0_from_output·output)
    x0 = _combination([(row.x0_from_x, x), (row.x0_from_output, op.output)], x)
    if isinstance(clip, Tensor):
        bound = _broadcast(clip, x0)
        x0 = x0.clamp(-bound, bound)
    elif clip is not None:
        x0 = x0.clamp(-clip, clip)
    # x' = c_x·x + c_x0·x0 + c_anchor·anchor + Σ c_history[i]·history[i] + c_noise·ε
    terms = [(row.c_x, x), (row.c_x0, x0)]
    if op.anchor is not None:
        terms.append((row.c_anchor, op.anchor))
    terms += zip(row.c_history, op.history, strict=False)
    if row.c_noise != 0:
        terms.append((row.c_noise, _epsilon(op.noise, x)))
    x_next = _combination(terms, x)
    # m = m_x·x + m_x0·x0
    m = _combination([(row.m_x, x), (row.m_x0, x0)], x).to(op.x.dtype) if op.want_m else None
    return (x_next.to(op.x.dtype) if op.out is None else op.out.copy_(x_next)), m
