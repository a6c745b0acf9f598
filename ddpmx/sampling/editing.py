"""Sampling from images instead of from noise alone: image to image, inpainting and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream
from ..rows import Plan


def add_noise_at_level(images: Tensor, level: tuple[float, float], noise: Noise) -> Tensor:
    """signal·images + sigma·ε, with `level` = (signal, sigma)."""
    signal, sigma = (images.new_full((len(images),), value) for value in level)
    return ops.add_noise(images, signal, sigma, noise=noise)


class Inpainting:
    """Keeps x equal to known images where `mask` is 1. Lugmayr et al. 2022, arXiv:2201.09865, eq. 8.

    `known` is [n, c, h, w]; `mask` is in [0, 1] and broadcasts to it. `noise` gives the seed and the sample
    ids; each row has its own stream. Raises ValueError when `known` does not have `shape`.
    """

    def __init__(self, known: Tensor, mask: Tensor, plan: Plan, shape: Sequence[int], noise: Noise) -> None:
        if list(known.shape) != list(shape):
            raise ValueError(f"known should have the shape {list(shape)}, not {list(known.shape)}")
        self._known, self._mask, self._levels = known, mask.to(known).expand(*shape), plan.levels
        self._noise = noise

    def before_row(self, index: int, x: Tensor) -> Tensor:
        """The x that the plan's row `index` starts from.

        ::

            mask·(signal·known + sigma·ε) + (1 − mask)·x

        ε is drawn anew for each row.
        """
        noise = replace(self._noise, stream=stream(Purpose.KNOWN, index))
        return self._blend(add_noise_at_level(self._known, self._levels[index], noise), x)

    def finish(self, x: Tensor) -> Tensor:
        """The result: mask·known + (1 − mask)·x."""
        return self._blend(self._known, x)

    def _blend(self, known: Tensor, x: Tensor) -> Tensor:
        return self._mask * known + (1 - self._mask) * x


@dataclass(frozen=True)
class SamplingInputs:
    """Arguments of `ddpmx.sample` for `count` images that do not start from noise alone, each [count, …]."""

    x_init: Tensor | None = None
    """The states at the plan's first index."""
    image: Tensor | None = None
    """Images to change, in [−1, 1]."""
    known: Tensor | None = None
    """Images to complete, in [−1, 1]."""
    mask: Tensor | None = None
    """1 where `known` is kept, 0 where it is sampled."""
    sample_ids: Tensor | None = None
    """The ids that the noise is drawn for, int64 [count]."""

    def select(self, indices: Tensor) -> dict[str, Any]:
        """The keyword arguments of `ddpmx.sample` for the images at `indices`."""
        return {field: value[indices] for field, value in vars(self).items() if value is not None}


def interpolation(seed: int, other: int, count: int, shape: Sequence[int], scale: float) -> SamplingInputs:
    """`count` starts, evenly spaced along the arc from the noise of `seed` to the noise of `other`.

    Both ends are image 0 of their seed. All images use the injected noise of `seed`. `scale` is the standard
    deviation of the starts.
    """
    first_id, start = torch.zeros(1, dtype=torch.int64), stream(Purpose.INIT, 0)
    a, b = (ops.normal(noise=Noise(end, start, first_id), shape=shape)[0] for end in (seed, other))
    x_init = slerp(a, b, torch.linspace(0, 1, count)) * scale
    return SamplingInputs(x_init=x_init, sample_ids=torch.zeros(count, dtype=torch.int64))


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """The points [n, *shape] on the arc from a to b, at each `share` s (float [n], 0 at a and 1 at b).

    ::

        (sin((1 − s)·θ)·a + sin(s·θ)·b)/sin θ

    θ is the angle between a and b, two tensors of one shape (Shoemake 1985, "Animating rotation with
    quaternion curves"). Between two draws of noise, the points keep the length of noise; those of a straight
    line do not. For parallel a and b the result is the straight line.
    """
    angle = torch.acos((torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())).double().clamp(-1, 1))
    s = share.to(a.device, torch.float64)
    parallel = bool(angle.sin() < 1e-6)
    weights = (
        (1 - s, s) if parallel else (((1 - s) * angle).sin() / angle.sin(), (s * angle).sin() / angle.sin())
    )
    weight_a, weight_b = (weight.to(a.dtype).view(-1, *[1] * a.ndim) for weight in weights)  # [n, 1, …, 1]
    return weight_a * a + weight_b * b
