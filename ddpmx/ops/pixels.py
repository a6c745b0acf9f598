"""Images of a data set in memory as a model's input, in one pass of a kernel of `csrc/loops.h` on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from . import native
from .choice import backend, has_cpu_kernels
from .noise import Noise


def fetch(pixels: Tensor, ids: Tensor, *, flips: int | None, seed: int) -> Tensor:
    """pixels[ids]/127.5 − 1, float32 [b, c, h, w] on the device of `pixels`.

    `pixels` is uint8 [n, c, h, w], `ids` int64 [b]. If `flips` is a stream, half of the images are mirrored:
    those whose `bits` of (id, flips, seed) begin with 0. Raises IndexError for an id outside of the set.
    """
    if has_cpu_kernels(pixels) and pixels.is_contiguous() and ids.device.type == "cpu":
        return native.fetch(pixels, ids, flips, seed)
    x = pixels.index_select(0, ids.to(pixels.device))
    if flips is not None:
        unflipped = backend(ids.device).bits(Noise(seed, flips, ids)) >> 62
        indices = torch.add(torch.arange(len(ids), device=ids.device), unflipped, alpha=len(ids))
        x = torch.cat((x.flip(-1), x)).index_select(0, indices.to(x.device))  # [2b, …] -> [b, …]
    return x.to(torch.float32).div_(127.5).sub_(1.0)
