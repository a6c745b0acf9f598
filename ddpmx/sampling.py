"""The only sampling loop: runs the rows of a plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import ops
from .rows import Plan, Row


@torch.no_grad()
def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    plan: Plan,
    shape: Sequence[int],
    seed: int = 0,
    sample_ids: Tensor | Sequence[int] | None = None,
    x_init: Tensor | None = None,
    noise: Callable[[int, tuple[int, ...]], Tensor] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, Row, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Images of `shape` [n, c, h, w], drawn by running the plan's rows.

    - `denoise(x, t)` is the network, called for every row that has an x_0: x of `shape` and `dtype`, t [n] in table
      indices (float64 when `dtype` is, else float32). x is overwritten afterwards: copy it to keep it.
    - `sample_ids` [n] are the ids that the noise of each image is drawn for, 0 … n−1 by default: an image depends on its
      id and the seed (64 bit), not on the batch that it is drawn in.
    - `x_init` is the state at the plan's first index, used as it is; by default noise of standard deviation
      `plan.init_scale`.
    - `noise(k, shape)` gives the k-th injected noise, k counting the rows whose c_noise is not 0; by default it is drawn
      for the row.
    - `callback(index, row, x, m)` sees the state after each row and what the row may push on the history (x_0 for most
      samplers), which it must not change.

    Raises ValueError when `x_init` or `sample_ids` do not fit `shape`.
    """
    shape = tuple(shape)
    ids = torch.arange(shape[0], device=device) if sample_ids is None else torch.as_tensor(sample_ids, dtype=torch.int64, device=device)
    if x_init is None:
        x = ops.normal(ids, ops.stream(ops.Purpose.INIT, 0), seed, shape[1:]).to(dtype) * plan.init_scale
    else:
        x = x_init.to(device=device, dtype=dtype, copy=True)  # the loop writes into x
    if x.shape != shape:
        raise ValueError(f"x_init and sample_ids should be for images of shape {list(shape)}, not {list(x.shape)}")
    time_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    history: deque[Tensor] = deque(maxlen=plan.history)
    anchor: Tensor | None = None
    injected = 0
    for index, row in enumerate(plan):
        output = denoise(x, torch.full((shape[0],), row.t, dtype=time_dtype, device=device)) if row.evaluates else x
        given = None
        if noise is not None and row.c_noise != 0:
            given = noise(injected, shape).to(device)
            injected += 1
        held = callback is not None or row.keep_anchor or _share_memory(x, output)
        x_next, m = ops.reverse_step(
            x,
            output,
            row,
            history=tuple(history)[: len(row.c_history)],
            anchor=anchor,
            clip=plan.clip,
            seed=seed,
            sample_ids=ids,
            stream=ops.stream(ops.Purpose.SAMPLE, index),
            noise=given,
            out=None if held else x,
            want_m=callback is not None or (row.push and plan.history > 0),
        )
        if row.keep_anchor:
            anchor = x
        if m is not None and row.push:
            history.appendleft(m)
        if callback is not None and m is not None:
            callback(index, row, x_next, m)
        x = x_next
    return x


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
