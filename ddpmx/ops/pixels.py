"""Images of a set in memory as a model's input: torch's, but on CPUs by a kernel of `csrc/loops.h`, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from . import native
from .choice import backend, has_cpu_kernels
from .noise import Noise


def fetch(pixels: Tensor, ids: Tensor, *, flips: int | None, seed: int) -> Tensor:
    """pixels[ids]/127.5 − 1, float32 [b, c, h, w] on the device of `pixels`, uint8 [n, c, h, w]; ids int64 [b].

    With `flips`, a stream, the images whose `bits` of (id, flips, seed) begin with 0 are mirrored: half of them. Raises IndexError for
    an id that is not in the set.
    """
    if has_cpu_kernels(pixels) and pixels.is_contiguous() and ids.device.type == "cpu":
        return native.fetch(pixels, ids, flips, seed)
    x = pixels.index_select(0, ids.to(pixels.device))
    if flips is not None:
        plain = backend(ids.device).bits(Noise(seed, flips, ids)) >> 62
        places = torch.add(torch.arange(len(ids), device=ids.device), plain, alpha=len(ids))
        x = torch.cat((x.flip(-1), x)).index_select(0, places.to(x.device))
    return x.to(torch.float32).div_(127.5).sub_(1.0)
