"""A batch of images at timesteps: the value that training, validation and the bound pass on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean images with their timesteps, noise and labels; all tensors are on one device."""

    x_start: Tensor
    """Clean images, float32 [b, c, h, w] in [−1, 1]."""
    t: Tensor
    """Table indices, int64 [b]."""
    noise: Noise
    """ε, not generated yet; its sample ids are the images' ids."""
    labels: Tensor | None = None
    """Classes, int64 [b]; None for a network without classes."""
    estimate_first: bool = True
    """Whether a self-conditioned network runs twice, the second time on its own estimate of x_0."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The random choices of a training step for its images, made before any image is fetched; on the CPU."""

    t: Tensor
    """Table indices, int64 [B]."""
    noise: Noise
    """ε, not generated yet; its sample ids are the images' ids."""
    labels: Tensor | None
    """Classes, int64 [B], some replaced by "no class"; None for a network without classes."""
    estimate_first: bool
    """Whether a self-conditioned network runs twice."""

    def batch(self, x_start: Tensor, part: Tensor | slice = slice(None)) -> Batch:
        """The batch of the images `x_start` on their device; `part` are their indices into these draws."""
        device = x_start.device
        noise = replace(self.noise, sample_ids=self.noise.sample_ids[part].to(device))
        labels = None if self.labels is None else self.labels[part].to(device)
        return Batch(x_start, self.t[part].to(device), noise, labels, self.estimate_first)


def fetch_images(pixels: Tensor, ids: Tensor, seed: int, epoch: int, flip: bool) -> Tensor:
    """The images `ids` of a data set uint8 [n, c, h, w], as float32 [b, c, h, w] in [−1, 1].

    With `flip`, half of the images are mirrored, a different half in each epoch.
    """
    return ops.fetch(pixels, ids, flips=stream(Purpose.FLIP, epoch) if flip else None, seed=seed)
