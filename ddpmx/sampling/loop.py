"""The only sampling loop: runs the rows of a plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..ops import Purpose, stream
from ..rows import DynamicClip, Plan, Row
from .editing import Inpainting, noised


@torch.no_grad()
def sample(
    denoise: Callable[..., Tensor],
    plan: Plan,
    shape: Sequence[int],
    seed: int = 0,
    sample_ids: Tensor | Sequence[int] | None = None,
    x_init: Tensor | None = None,
    noise: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, Row, Tensor, Tensor], None] | None = None,
    image: Tensor | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    self_condition: bool = False,
) -> Tensor:
    """Images of `shape` [n, c, h, w], drawn by running the plan's rows.

    - `denoise(x, t)` is the network, called for every row that has an x_0, but not for an n of 0: x of `shape` and `dtype`, t [n] in table
      indices (float64 when `dtype` is, else float32). x is overwritten afterwards: copy it to keep it. Where its output has
      2c channels, the second half is a learned variance, for the rows that have a `noise_range`.
    - `sample_ids` [n] are the ids that the noise of each image is drawn for, 0 … n−1 by default: an image depends on its
      id and the seed (64 bit), not on the batch that it is drawn in.
    - `x_init` is the state at the plan's first index, used as it is; by default noise of standard deviation
      `plan.init_scale`.
    - `noise(k, shape)` gives the k-th injected noise, k counting the rows whose c_noise is not 0; by default it is drawn
      for the row.
    - `callback(index, row, x, m)` sees the state after each row and what the row may push on the history (x_0 for most
      samplers), which it must not change.
    - `image` (of `shape`, in [−1, 1]) takes the place of `x_init`: this image with the noise of the plan's first index. With a
      plan of `strength` below 1 it is changed, not replaced. Meng et al. 2021, arXiv:2108.01073.
    - `known` (of `shape`, in [−1, 1]) and `mask` (1: known, 0: to be drawn; broadcasts to `shape`): inpainting, see `Inpainting`.
      `plan.resampled` adds the repetitions that make the two parts fit.
    - `self_condition`: call `denoise(x, t, x0)` with the x_0 of the evaluation before, bounded by the plan's clip; zeros at
      first. Chen et al. 2022, arXiv:2208.04202, algorithm 2.

    Raises ValueError when a given tensor does not fit `shape`, when only one of `known` and `mask` or both `image` and `x_init` are
    given, and when the plan does not have the levels, or the output not the variance, that is needed.
    """
    shape = tuple(shape)
    ids = torch.arange(shape[0], device=device) if sample_ids is None else torch.as_tensor(sample_ids, dtype=torch.int64, device=device)
    _check(plan, image, known, mask, x_init)
    x = _start(plan, shape, ids, seed, x_init, image, dtype)
    if x.shape != shape:
        raise ValueError(f"x_init, image and sample_ids should be for images of shape {list(shape)}, not {list(x.shape)}")
    held = None
    if known is not None and mask is not None:
        held = Inpainting(known.to(device=device, dtype=dtype), mask, plan, shape, ids, seed)
    if len(x) == 0:
        return x
    times = _times(plan, shape[0], torch.float64 if dtype == torch.float64 else torch.float32, ids.device)
    bound = None if isinstance(plan.clip, DynamicClip) else plan.clip
    first_key = stream(Purpose.SAMPLE, 0)
    history: deque[Tensor] = deque(maxlen=plan.history)
    anchor: Tensor | None = None
    estimate = torch.zeros_like(x) if self_condition else None
    injected = 0
    for index, (row, t) in enumerate(zip(plan, times, strict=True)):
        output, variance = x, None
        if row.evaluates:
            if held is not None:
                x = held.at(index, x)
            output = denoise(x, t) if estimate is None else denoise(x, t, estimate)
            if output.shape[1] == 2 * shape[1]:
                output, variance = output.chunk(2, dim=1)
        given = None
        if noise is not None and row.c_noise != 0:
            given = noise(injected, shape).to(device)
            injected += 1
        key, scalars, clip = first_key + index, row, bound
        if row.evaluates and (estimate is not None or isinstance(plan.clip, DynamicClip)):
            # x_0 itself is needed, or its bound is no number: made here, and to the kernel it is the output
            output = bounded(row.x0_from_x * x + row.x0_from_output * output, plan.clip)
            scalars, clip = replace(row, x0_from_x=0.0, x0_from_output=1.0), None
            estimate = None if estimate is None else output
        if row.noise_range is not None:
            epsilon = ops.normal(ids, key, seed, shape[1:]) if given is None else given
            given = learned_std(row.noise_range, variance) * epsilon
        x_next, m = ops.reverse_step(
            x,
            output,
            scalars,
            history=tuple(history)[: len(row.c_history)],
            anchor=anchor,
            clip=clip,
            seed=seed,
            sample_ids=ids,
            stream=key,
            noise=given,
            out=None if callback is not None or row.keep_anchor or _share_memory(x, output) else x,
            want_m=callback is not None or (row.push and plan.history > 0),
        )
        if row.keep_anchor:
            anchor = x
        if m is not None and row.push:
            history.appendleft(m)
        if callback is not None and m is not None:
            callback(index, row, x_next, m)
        x = x_next
    return x if held is None else held.end(x)


def _start(
    plan: Plan, shape: tuple[int, ...], ids: Tensor, seed: int, x_init: Tensor | None, image: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The state at the plan's first index, which the loop may write into."""
    if x_init is not None:
        return x_init.to(device=ids.device, dtype=dtype, copy=True)
    key = stream(Purpose.INIT, 0)
    if image is not None:
        return noised(image.to(device=ids.device, dtype=dtype), plan.levels[0], ids, key, seed)
    return ops.normal(ids, key, seed, shape[1:]).to(dtype) * plan.init_scale


def _times(plan: Plan, count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Each row's t [count], made at once: to fill one for each row would take longer than all else beside the network."""
    return torch.tensor([row.t for row in plan], dtype=dtype).to(device).view(-1, 1).repeat(1, count).unbind()


def bounded(x0: Tensor, clip: float | DynamicClip | None) -> Tensor:
    """x_0 within what `Plan.clip` says."""
    if clip is None:
        return x0
    if isinstance(clip, DynamicClip):
        size = x0.abs().flatten(1)
        size = torch.quantile(size if size.dtype == torch.float64 else size.float(), clip.percentile, dim=1).clamp(min=1)
        bound = size.to(x0.dtype).view(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-bound, bound) / bound
    return x0.clamp(-clip, clip)


def learned_std(noise_range: tuple[float, float], variance: Tensor | None) -> Tensor:
    """exp(low + (high − low)·(v + 1)/2) for each element, `variance` being the network's v."""
    if variance is None:
        raise ValueError("the plan's noise is learned, and the output has no second half of channels for it")
    low, high = noise_range
    return torch.exp(low + (high - low) * (variance + 1) / 2)


def _check(plan: Plan, image: Tensor | None, known: Tensor | None, mask: Tensor | None, x_init: Tensor | None) -> None:
    if (known is None) != (mask is None):
        raise ValueError("known and mask are given together")
    if image is not None and x_init is not None:
        raise ValueError("image and x_init both say where to start")
    if (image is not None or known is not None) and len(plan.levels) != len(plan):
        raise ValueError("image and known need the plan's levels, and it has none")


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
