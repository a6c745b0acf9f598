"""The native backends: the fused kernels of `csrc/`, C++ for CPU tensors and CUDA for GPU tensors.

Their math is in `csrc/element.h`. The reference runs what the kernels do not support: float64, more than 13
dimensions, more than 8 history terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from . import checks, reference
from .autograd import Context
from .library import OPERATORS
from .noise import Noise
from .operations import AddNoise, ReverseStep, WeightedLoss

DTYPES = (torch.float32, torch.bfloat16)
FLOAT64 = torch.float64
REFUSALS = (RuntimeError, TypeError, AttributeError, IndexError, OverflowError)
"""The exceptions that invalid arguments raise in an operator, or before it is called."""
MAX_DIMENSIONS, MAX_HISTORY = 13, 8  # kMaxDims + 1 and kMaxHistory of csrc/batch.h and csrc/noise_ops.h
NORMS = {"l1": 0, "l2": 1, "huber": 2}  # Norm of csrc/element.h


def _mark_changed(out: Tensor) -> None:
    """Tell autograd that a kernel has changed a tensor, which a graph may have saved."""
    if not (torch.compiler.is_compiling() or out.is_inference()):
        torch.autograd.graph.increment_version(out)


def _signed(seed: int) -> int:
    """A seed below 2⁶⁴ as the int64 with the same bits."""
    return seed - 2**64 if 2**63 <= seed < 2**64 else seed


def normal(noise: Noise, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 [B, *shape]."""
    ids = noise.sample_ids
    return _filled("normal", noise, ids.new_empty((ids.size(0), *shape), dtype=torch.float32))


def bits(noise: Noise) -> Tensor:
    """63 random bits, int64 [B]."""
    return _filled("bits", noise, torch.empty_like(noise.sample_ids, memory_format=torch.contiguous_format))


def _filled(operator: str, noise: Noise, out: Tensor) -> Tensor:
    """`out`, filled by the generator, which refuses negative ids."""
    try:
        OPERATORS[operator](noise.sample_ids, noise.stream, _signed(noise.seed), out)
    except RuntimeError:
        checks.ids(noise.sample_ids)
        raise
    return out


def fetch(pixels: Tensor, ids: Tensor, flips: int | None, seed: int) -> Tensor:
    """Images as a model's input, float32 [b, c, h, w], on the CPU; see `ops.fetch`."""
    out = torch.empty((len(ids), *pixels.shape[1:]), dtype=torch.float32)
    try:
        OPERATORS["fetch"](pixels, ids, flips or 0, _signed(seed), flips is not None, out)
    except RuntimeError as error:
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(pixels):
            raise IndexError(
                f"ids should be from 0 to {len(pixels) - 1}, not {int(ids.min())} to {int(ids.max())}"
            ) from error
        raise
    return out


def add_noise(op: AddNoise) -> Tensor:
    """x_t = signal·x_start + sigma·ε."""
    x_start, noise, out = op.x_start, op.noise, op.out
    if x_start.dtype is FLOAT64 or x_start.ndim > MAX_DIMENSIONS:
        return reference.add_noise(op)
    x_t = torch.empty_like(x_start) if out is None else out
    ids, seed = noise.sample_ids, noise.seed
    if seed >= 2**63:
        seed = _signed(seed)
    OPERATORS["add_noise"](x_start, op.signal, op.sigma, ids, noise.stream, seed, noise.given, x_t)
    if out is not None:
        _mark_changed(out)
    return x_t


class _LossContext(Context, Protocol):
    dtype: torch.dtype


class _Differentiable(torch.autograd.Function):
    """The loss, with the float32 gradient that the kernel wrote: backward scales it and rounds it once."""

    @staticmethod
    def forward(ctx: _LossContext, output: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        value = loss.detach()
        ctx.save_for_backward(gradient, value)
        ctx.dtype = output.dtype
        return value

    @staticmethod
    def backward(ctx: _LossContext, upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient, value = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient gets a graph, as with create_graph=True
            return _Scaled.apply(gradient, upstream, value, ctx.dtype), None, None
        return _scaled(gradient, upstream, ctx.dtype), None, None


def _scaled(gradient: Tensor, upstream: Tensor, dtype: torch.dtype) -> Tensor:
    """upstream[b]·gradient."""
    out = torch.empty_like(gradient, dtype=dtype)
    return torch.mul(gradient, upstream.view(-1, *[1] * (gradient.ndim - 1)), out=out)


class _Scaled(torch.autograd.Function):
    """`_scaled`, with the loss as an input, so that a second derivative raises instead of being 0."""

    @staticmethod
    def forward(ctx: object, gradient: Tensor, upstream: Tensor, loss: Tensor, dtype: torch.dtype) -> Tensor:
        return _scaled(gradient, upstream, dtype)

    @staticmethod
    def backward(ctx: object, *upstream: Tensor) -> None:
        raise RuntimeError(
            "weighted_loss can be differentiated once: "
            'for a second derivative use `ops.use_backend("reference")`'
        )


def weighted_loss(op: WeightedLoss) -> Tensor:
    """loss[b] = weight[b] · mean of norm(output − (target_x·x_start + target_eps·ε)), float32 [B]."""
    output, x_start, noise = op.output, op.x_start, op.noise
    if output.ndim > MAX_DIMENSIONS or torch.float64 in (output.dtype, x_start.dtype):
        return reference.weighted_loss(op)
    differentiable = output.requires_grad and torch.is_grad_enabled()
    loss = output.new_empty(output.size(0), dtype=torch.float32)
    gradient = torch.empty_like(output, dtype=torch.float32) if differentiable else None
    with torch.no_grad():  # only output gets a gradient
        batch = (output, x_start, op.target_x, op.target_eps, op.weight)
        key = (noise.sample_ids, noise.stream, _signed(noise.seed))
        OPERATORS["weighted_loss"](*batch, *key, noise.given, NORMS[op.norm], op.delta, loss, gradient)
    return _Differentiable.apply(output, loss, gradient) if differentiable else loss


def reverse_step(op: ReverseStep) -> tuple[Tensor, Tensor | None]:
    """One row of a sampling plan: (x', m)."""
    x, output, row, clip, noise, out = op.x, op.output, op.row, op.clip, op.noise, op.out
    if (
        x.ndim > MAX_DIMENSIONS
        or torch.float64 in (x.dtype, output.dtype)
        or len(row.c_history) > MAX_HISTORY
    ):
        return reference.reverse_step(op)
    x0 = [row.x0_from_x, row.x0_from_output]
    coefficients = [*x0, row.c_x, row.c_x0, row.c_anchor, row.c_noise, row.m_x, row.m_x0, *row.c_history]
    clip_each = clip if isinstance(clip, Tensor) else None
    clip_all = math.inf if clip is None or isinstance(clip, Tensor) else clip
    x_next = torch.empty_like(x) if out is None else out
    m = torch.empty_like(x) if op.want_m else None
    state = (x, output, coefficients, list(op.history[: len(row.c_history)]), op.anchor, clip_each, clip_all)
    key = (noise.sample_ids, noise.stream, _signed(noise.seed))
    OPERATORS["reverse_step"](*state, *key, noise.given, x_next, m)
    if out is not None:
        _mark_changed(out)
    return x_next, m
