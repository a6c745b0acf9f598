"""The fused kernels of `csrc/` as a backend: C++ for CPU tensors, CUDA for those of a GPU. Their math is in `csrc/element.h`.

What the kernels do not take, the reference does: float64, more than 13 dimensions, more than 8 history terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..rows import Row
from . import checks, reference
from .noise import Noise

DTYPES = (torch.float32, torch.bfloat16)
REFUSALS = (RuntimeError, TypeError, IndexError, OverflowError)  # what an operator raises for arguments that do not fit
DIMENSIONS, HISTORY = 13, 8  # kMaxDims + 1 and kMaxHistory of csrc/batch.h and csrc/noise_ops.h
NORMS = {"l1": 0, "l2": 1, "huber": 2}  # Norm of csrc/element.h
_operators: dict[str, Callable[..., None]] = {}


def define() -> None:
    """Once the library is loaded: look its operators up, and tell tracing that they only write into their last arguments."""
    of_networks = ("depthwise_gradient", "convolve", "convolution_gradient", "normalise", "normalise_gradient")
    for name in ("fetch", "normal", "bits", "add_noise", "weighted_loss", "reverse_step", *of_networks):
        _operators[name] = getattr(torch.ops.ddpmx, name).default
        torch.library.register_fake(f"ddpmx::{name}", _fake)


def _fake(*arguments: Any) -> None:
    """Nothing is computed. A tensor without memory among others is refused, like one on another device is by the kernels."""
    tensors = [value for value in tree_leaves(arguments) if isinstance(value, Tensor)]
    if len({tensor.device for tensor in tensors}) > 1:
        raise RuntimeError("ddpmx: tensors on several devices")


def _call(name: str, sample_ids: Tensor, *arguments: Any) -> None:
    """Run an operator, whose kernel finds negative ids on its way."""
    try:
        _operators[name](*arguments)
    except RuntimeError:
        checks.ids(sample_ids)
        raise


def _written(out: Tensor) -> None:
    """Lets autograd see that a kernel has changed a tensor, which may be one that a graph has saved."""
    if not (torch.compiler.is_compiling() or out.is_inference()):
        torch.autograd.graph.increment_version(out)


def _signed(seed: int) -> int:
    return seed - 2**64 if 2**63 <= seed < 2**64 else seed


def _key(noise: Noise) -> tuple[Tensor, int, int]:
    """As operators take it."""
    return noise.sample_ids, noise.stream, _signed(noise.seed)


def _beyond(x: Tensor) -> bool:
    return x.dtype == torch.float64 or x.ndim > DIMENSIONS


def normal(noise: Noise, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, float32 [B, *shape]."""
    ids = noise.sample_ids
    out = ids.new_empty((ids.size(0), *shape), dtype=torch.float32)
    _call("normal", ids, *_key(noise), out)
    return out


def bits(noise: Noise) -> Tensor:
    """63 random bits, int64 [B]."""
    out = torch.empty_like(noise.sample_ids, memory_format=torch.contiguous_format)
    _call("bits", noise.sample_ids, *_key(noise), out)
    return out


def fetch(pixels: Tensor, ids: Tensor, flips: int | None, seed: int) -> Tensor:
    """Images for the model, float32 [b, c, h, w], on the CPU."""
    out = torch.empty((len(ids), *pixels.shape[1:]), dtype=torch.float32)
    try:
        _operators["fetch"](pixels, ids, flips or 0, _signed(seed), flips is not None, out)
    except RuntimeError as error:
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(pixels):
            raise IndexError(f"ids should be from 0 to {len(pixels) - 1}") from error
        raise
    return out


def add_noise(x_start: Tensor, signal: Tensor, sigma: Tensor, noise: Noise, out: Tensor | None) -> Tensor:
    """x_t = signal·x_start + sigma·ε."""
    if _beyond(x_start):
        return reference.add_noise(x_start, signal, sigma, noise, out)
    x_t = torch.empty_like(x_start) if out is None else out
    _call("add_noise", noise.sample_ids, x_start, signal, sigma, *_key(noise), noise.given, x_t)
    if out is not None:
        _written(out)
    return x_t


class _Differentiable(torch.autograd.Function):
    """The loss, with the gradient that the kernel wrote beside it, in float32: backward scales it, and rounds it once."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        value = loss.detach()
        ctx.save_for_backward(gradient, value)
        ctx.dtype = output.dtype
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient, value = ctx.saved_tensors
        return _Scale.apply(gradient, upstream, value, ctx.dtype), None, None


class _Scale(torch.autograd.Function):
    """upstream[b]·gradient. It hangs on the loss, so that a second derivative is an error and not 0."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, upstream: Tensor, loss: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.mul(gradient, upstream.view(-1, *[1] * (gradient.ndim - 1)), out=torch.empty_like(gradient, dtype=dtype))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise RuntimeError('weighted_loss can be differentiated once: for a second derivative use `ops.use_backend("reference")`')


def weighted_loss(
    output: Tensor,
    x_start: Tensor,
    target_x: Tensor,
    target_eps: Tensor,
    weight: Tensor,
    noise: Noise,
    *,
    norm: str,
    delta: float,
) -> Tensor:
    """loss[b] = weight[b] · mean of norm(output − (target_x·x_start + target_eps·ε)), float32 [B]."""
    if _beyond(output) or x_start.dtype == torch.float64:
        return reference.weighted_loss(output, x_start, target_x, target_eps, weight, noise, norm=norm, delta=delta)
    differentiable = output.requires_grad and torch.is_grad_enabled()
    loss = output.new_empty(output.size(0), dtype=torch.float32)
    gradient = torch.empty_like(output, dtype=torch.float32) if differentiable else None
    with torch.no_grad():  # of all the arguments, only output gets a gradient
        given = (output, x_start, target_x, target_eps, weight, *_key(noise), noise.given, NORMS[norm], delta)
        _call("weighted_loss", noise.sample_ids, *given, loss, gradient)
    return _Differentiable.apply(output, loss, gradient) if differentiable else loss


def reverse_step(
    x: Tensor,
    output: Tensor,
    row: Row,
    noise: Noise,
    *,
    history: Sequence[Tensor],
    anchor: Tensor | None,
    clip: float | Tensor | None,
    out: Tensor | None,
    want_m: bool,
) -> tuple[Tensor, Tensor | None]:
    """One row of a sampling plan: (x', m)."""
    if _beyond(x) or output.dtype == torch.float64 or len(row.c_history) > HISTORY:
        return reference.reverse_step(x, output, row, noise, history=history, anchor=anchor, clip=clip, out=out, want_m=want_m)
    coefficients = [row.x0_from_x, row.x0_from_output, row.c_x, row.c_x0, row.c_anchor, row.c_noise, row.m_x, row.m_x0, *row.c_history]
    each, all_ = (clip, math.inf) if isinstance(clip, Tensor) else (None, math.inf if clip is None else clip)
    x_next = torch.empty_like(x) if out is None else out
    m = torch.empty_like(x) if want_m else None
    pasts = list(history[: len(row.c_history)])
    key = _key(noise)
    _call("reverse_step", noise.sample_ids, x, output, coefficients, pasts, anchor, each, all_, *key, noise.given, x_next, m)
    if out is not None:
        _written(out)
    return x_next, m


def depthwise_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of `ops.depthwise`: the gradients of weight [c, 1, 7, 7] and bias [c], float32, from that of the result."""
    of_weight, of_bias = (x.new_empty(shape, dtype=torch.float32) for shape in ((x.shape[1], 1, 7, 7), (x.shape[1],)))
    _operators["depthwise_gradient"](x, gradient, of_weight, of_bias)
    return of_weight, of_bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, turned: bool = False) -> Tensor:
    """3×3 of stride 1 on float32 in channels_last order; `turned`: from the gradient of the result to that of x."""
    shape = (x.shape[0], weight.shape[int(turned)], *x.shape[2:])
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    _operators["convolve"](x, weight, bias, turned, out)
    return out


def convolution_gradient(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Of `convolve`: the gradients of weight and bias from that of the result."""
    of_weight, of_bias = x.new_empty((gradient.shape[1], x.shape[1], 3, 3)), x.new_empty(gradient.shape[1])
    _operators["convolution_gradient"](x, gradient, of_weight, of_bias)
    return of_weight, of_bias


def normalise(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, gelu: bool) -> tuple[Tensor, Tensor]:
    """GroupNorm of one group of x [n, c, h, w] (float32, channels_last) or of its GELU, and what `normalise_gradient` needs."""
    out, statistics = torch.empty_like(x), x.new_empty((2, x.shape[0]))
    _operators["normalise"](x, gamma, beta, epsilon, gelu, out, statistics)
    return out, statistics


def normalise_gradient(
    x: Tensor, gradient: Tensor, gamma: Tensor, gelu: bool, statistics: Tensor, *, overwrite: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Of `normalise`: the gradients of x, gamma and beta from that of the result; that of x takes its place with `overwrite`."""
    of_x = gradient if overwrite else torch.empty_like(x)
    of_gamma, of_beta = torch.empty_like(gamma), torch.empty_like(gamma)
    _operators["normalise_gradient"](x, gradient, gamma, gelu, statistics, of_x, of_gamma, of_beta)
    return of_x, of_gamma, of_beta
