"""A batch of images at timesteps: the one value that training, validation and the bound hand on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .. import ops
from ..ops import Noise, Purpose, stream


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean images, how far each is to be noised and by which ε, and what the network is told of them; all on one device."""

    x_start: Tensor
    """float32 [b, c, h, w] in [−1, 1]."""
    t: Tensor
    """Table indices, int64 [b]."""
    noise: Noise
    """ε, not made yet; its sample ids are those of the images."""
    labels: Tensor | None = None
    """Classes, int64 [b], for a network that is told them."""
    estimate_first: bool = True
    """Whether a self-conditioned network is run twice, the second time on its own estimate of x_0."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What a training step draws for its images before any is fetched: int64 [B] each, on the CPU."""

    t: Tensor
    noise: Noise
    labels: Tensor | None
    """None for a network without classes."""
    estimate_first: bool

    def batch(self, x_start: Tensor, part: Tensor | slice = slice(None)) -> Batch:
        """The batch of the images `part`, indices into these, which are `x_start`; on the device of that."""
        device = x_start.device
        noise = replace(self.noise, sample_ids=self.noise.sample_ids[part].to(device))
        labels = None if self.labels is None else self.labels[part].to(device)
        return Batch(x_start, self.t[part].to(device), noise, labels, self.estimate_first)


def fetch_images(pixels: Tensor, ids: Tensor, seed: int, epoch: int, flip: bool) -> Tensor:
    """The images `ids` of a set [n, c, h, w] of bytes, for the network: float32 [b, c, h, w] in [−1, 1].

    With `flip`, half of the images are mirrored, a different half in each epoch.
    """
    return ops.fetch(pixels, ids, flips=stream(Purpose.FLIP, epoch) if flip else None, seed=seed)
