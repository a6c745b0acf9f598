"""The sampling loop, the only one: it runs the rows of a plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream
from ..rows import DynamicClip, Plan, Row
from .editing import Inpainting, SamplingInputs, add_noise_at_level
from .injection import Injection
from .network import Denoiser, Network

Callback = Callable[[int, Row, Tensor, Tensor], None]


@torch.no_grad()
def sample(
    denoise: Denoiser,
    plan: Plan,
    shape: Sequence[int],
    seed: int = 0,
    sample_ids: Tensor | Sequence[int] | None = None,
    x_init: Tensor | None = None,
    noise: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    callback: Callback | None = None,
    image: Tensor | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    self_condition: bool = False,
) -> Tensor:
    """Images of `shape` [n, c, h, w], sampled by running the plan's rows.

    - `denoise(x, t)` is the network. It is called for each row that has an x_0, and never when n is 0. x has
      `shape` and `dtype`; t [n] is in table indices, float64 if `dtype` is, else float32. x is overwritten
      afterwards: copy it to keep it. If the output has 2c channels, the second half is a learned variance,
      for the rows that have a `noise_range`.
    - `sample_ids` [n] are the ids that the noise of each image is drawn for, by default 0 … n−1. An image
      depends on its id and the seed (64 bits), not on its batch.
    - `x_init` is the state at the plan's first index, used unscaled. The default is noise of standard
      deviation `plan.init_scale`.
    - `noise(k, shape)` returns the k-th injected noise, where k counts the rows whose c_noise is not 0. By
      default it is drawn for the row.
    - `callback(index, row, x, m)` receives the state after each row, and the m that the row may push on the
      history (x_0 for most samplers). It must not change them.
    - `image` (of `shape`, in [−1, 1]) replaces `x_init`: sampling starts from this image at the noise level
      of the plan's first index. A plan with a `strength` below 1 changes the image instead of replacing it.
      Meng et al. 2021, arXiv:2108.01073.
    - `known` (of `shape`, in [−1, 1]) and `mask` (1: known, 0: to sample; broadcasts to `shape`) are for
      inpainting, see `Inpainting`. `plan.resampled` adds the repetitions that make the two parts fit.
    - `self_condition`: call `denoise(x, t, x0)` with the x_0 of the previous evaluation, bounded by the
      plan's clip, and zeros at first. Chen et al. 2022, arXiv:2208.04202, algorithm 2.

    Raises ValueError when a tensor does not have `shape`; for only one of `known` and `mask`; for both
    `image` and `x_init`; for a plan that lacks moments; and when the plan lacks the levels, or the output the
    variance, that the call needs.
    """
    shape = tuple(shape)
    ids = torch.arange(shape[0], device=device) if sample_ids is None else sample_ids
    start = Noise(seed, stream(Purpose.INIT, 0), torch.as_tensor(ids, dtype=torch.int64, device=device))
    inputs = SamplingInputs(x_init, image, known, mask)
    x = _start(plan, shape, inputs, start, dtype)
    inpainting = None
    if known is not None and mask is not None:
        inpainting = Inpainting(known.to(device=device, dtype=dtype), mask, plan, shape, start)
    if len(x) == 0:
        return x
    network = Network(denoise, plan.clip, torch.zeros_like(x) if self_condition else None)
    return _run(plan, x, network, Injection(start, shape, noise), inpainting, callback)


def _run(
    plan: Plan,
    x: Tensor,
    network: Network,
    injection: Injection,
    inpainting: Inpainting | None,
    callback: Callback | None,
) -> Tensor:
    """The state after all rows. Starts from x, the state at the plan's first index, and may overwrite it."""
    bound = None if isinstance(plan.clip, DynamicClip) else plan.clip
    history: deque[Tensor] = deque(maxlen=plan.history)
    anchor: Tensor | None = None
    for index, (row, t) in enumerate(zip(plan, _times(plan, x), strict=True)):
        if row.evaluates and inpainting is not None:
            x = inpainting.before_row(index, x)
        output, variance = network.output(x, t) if row.evaluates else (x, None)
        noise = injection.for_row(index, row, variance)
        scalars, clip = row, bound
        if row.evaluates and network.gives_x0:
            output = network.x0(row, x, output)  # the kernel takes this x_0 as the output
            scalars, clip = replace(row, x0_from_x=0.0, x0_from_output=1.0), None

        # x0 = clip(x0_from_x·x + x0_from_output·output)
        # x' = c_x·x + c_x0·x0 + c_anchor·anchor + Σ c_history[i]·history[i] + c_noise·ε
        # m  = m_x·x + m_x0·x0
        x_next, m = ops.reverse_step(
            x,
            output,
            scalars,
            history=tuple(history)[: len(row.c_history)],
            anchor=anchor,
            clip=clip,
            noise=noise,
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
    return x if inpainting is None else inpainting.finish(x)


def _start(
    plan: Plan, shape: tuple[int, ...], inputs: SamplingInputs, noise: Noise, dtype: torch.dtype
) -> Tensor:
    """The state at the plan's first index, in memory that the loop may overwrite."""
    _check(plan, inputs)
    device = noise.sample_ids.device
    if inputs.x_init is not None:
        x = inputs.x_init.to(device=device, dtype=dtype, copy=True)
    elif inputs.image is not None:
        x = add_noise_at_level(inputs.image.to(device=device, dtype=dtype), plan.levels[0], noise)
    else:
        x = ops.normal(noise=noise, shape=shape[1:]).to(dtype) * plan.init_scale
    if x.shape != shape:
        raise ValueError(
            f"x_init, image and sample_ids should fit images of shape {list(shape)}, not {list(x.shape)}"
        )
    return x


def _check(plan: Plan, inputs: SamplingInputs) -> None:
    if plan.lacks_moments:
        raise ValueError("the plan lacks the network's moments: make it with Sampler.plan(…, moments=…)")
    if (inputs.known is None) != (inputs.mask is None):
        raise ValueError("inpainting needs both known and mask: pass both or neither")
    if inputs.image is not None and inputs.x_init is not None:
        raise ValueError("image and x_init are two different starts: pass only one")
    if (inputs.image is not None or inputs.known is not None) and len(plan.levels) != len(plan):
        raise ValueError("image and known need a plan with levels, and this one has none")


def _times(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
    """The t [n] of each row.

    They are made together, because making one for each row costs more than everything else outside the
    network.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return (
        torch.tensor([row.t for row in plan], dtype=dtype).to(x.device).view(-1, 1).repeat(1, len(x)).unbind()
    )


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
