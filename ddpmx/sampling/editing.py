"""Drawing from given images instead of from noise alone: image to image, inpainting, and the way from one start to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream
from ..rows import Plan


def noised(images: Tensor, level: tuple[float, float], noise: Noise) -> Tensor:
    """signal·images + sigma·ε at a level (signal, sigma)."""
    signal, sigma = (images.new_full((len(images),), value) for value in level)
    return ops.add_noise(images, signal, sigma, noise=noise)


class Inpainting:
    """Holds x to images that are known where `mask` is 1. Lugmayr et al. 2022, arXiv:2201.09865, eq. 8.

    `known` [n, c, h, w]; `mask` broadcasts to it, in [0, 1]. `noise` says the seed and the sample ids; each row has a stream
    of its own. Raises ValueError where `known` does not fit `shape`.
    """

    def __init__(self, known: Tensor, mask: Tensor, plan: Plan, shape: Sequence[int], noise: Noise) -> None:
        if list(known.shape) != list(shape):
            raise ValueError(f"known should have the shape {list(shape)}, not {list(known.shape)}")
        self._known, self._mask, self._levels = known, mask.to(known).expand(*shape), plan.levels
        self._noise = noise

    def at(self, index: int, x: Tensor) -> Tensor:
        """x before the plan's row `index`: mask·(signal·known + sigma·ε) + (1 − mask)·x, with new noise in each row."""
        noise = replace(self._noise, stream=stream(Purpose.KNOWN, index))
        return self._blend(noised(self._known, self._levels[index], noise), x)

    def end(self, x: Tensor) -> Tensor:
        """mask·known + (1 − mask)·x."""
        return self._blend(self._known, x)

    def _blend(self, there: Tensor, x: Tensor) -> Tensor:
        return self._mask * there + (1 - self._mask) * x


@dataclass(frozen=True)
class Given:
    """What `count` images are drawn from besides noise of their own: the arguments of `ddpmx.sample`, each [count, …] or None."""

    x_init: Tensor | None = None
    image: Tensor | None = None
    known: Tensor | None = None
    mask: Tensor | None = None
    sample_ids: Tensor | None = None

    def of(self, ids: Tensor) -> dict[str, Any]:
        """The part of the images `ids`."""
        return {field: value[ids] for field, value in vars(self).items() if value is not None}


def between(seed: int, other: int, count: int, shape: Sequence[int], scale: float) -> Given:
    """`count` starts from that of `seed` to that of `other`, evenly along the arc, and the same injected noise for all.

    Both ends are image 0 of their seed; the noise injected on the way is that of `seed`.
    """
    first, key = torch.zeros(1, dtype=torch.int64), stream(Purpose.INIT, 0)
    a, b = (ops.normal(noise=Noise(which, key, first), shape=shape)[0] for which in (seed, other))
    x_init = slerp(a, b, torch.linspace(0, 1, count)) * scale
    return Given(x_init=x_init, sample_ids=torch.zeros(count, dtype=torch.int64))


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """The point at each `share` (float [n], 0: a, 1: b) of the arc from a to b, tensors of one shape: [n, *shape].

    (sin((1 − s)·θ)·a + sin(s·θ)·b)/sin θ, θ being the angle between them (Shoemake 1985, "Animating rotation with quaternion
    curves"). Between two draws of noise it keeps the length that noise has, which a straight line does not. Where a and b are
    parallel it is that straight line.
    """
    angle = torch.acos((torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())).double().clamp(-1, 1))
    s = share.to(a.device, torch.float64)
    straight = bool(angle.sin() < 1e-6)
    weights = (
        (1 - s, s) if straight else (((1 - s) * angle).sin() / angle.sin(), (s * angle).sin() / angle.sin())
    )
    left, right = (weight.to(a.dtype).view(-1, *[1] * a.ndim) for weight in weights)
    return left * a + right * b
