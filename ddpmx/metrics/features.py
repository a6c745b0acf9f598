"""Networks as eyes: features of images, those of real ones kept between runs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..data.cache import read, write
from ..files import cache_root

Done = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class Extractor(ABC):
    """What turns images into the vectors that metrics compare."""

    hash: str | None
    """Of the weights; None where there are none."""
    preprocessing: str
    """How pixels reach the network."""
    batch: int
    """Images at a time."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, d] of uint8 [n, c, h, w]."""

    def real(self, pixels: Tensor, done: Done) -> Tensor:
        """float32 [N, d] of real images, cached by the hashes of their content and of the weights."""
        content = hashlib.sha256(
            f"{list(pixels.shape)}".encode() + pixels.contiguous().numpy().data
        ).hexdigest()[:32]
        path = cache_root() / "features" / f"{content}-{self.hash}.safetensors"
        found = read(path, lambda tensors, facts: _checked(tensors["features"], len(pixels)))
        if found is None:
            found = extract(self, pixels, done)
            write(path, {"features": found}, {"images": len(pixels)})
        return found


class Pixels(Extractor):
    """No network: the pixels are the features."""

    hash = None
    preprocessing = "8-bit values, flattened"
    batch = 10_000

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, c·h·w] in 0…255."""
        return pixels.flatten(1).float()

    def real(self, pixels: Tensor, done: Done) -> Tensor:
        """The same: nothing that a cache would save."""
        return self.features(pixels)


def _checked(features: Tensor, images: int) -> Tensor:
    """The same. Raises ValueError where they are not float32 [images, d], all finite."""
    if (
        features.dtype != torch.float32
        or features.dim() != 2
        or len(features) != images
        or not bool(features.isfinite().all())
    ):
        raise ValueError("not the features of these images")
    return features


def extract(extractor: Extractor, pixels: Tensor, done: Done) -> Tensor:
    """float32 [n, d], batch by batch."""
    parts: list[Tensor] = []
    with torch.no_grad():
        for part in pixels.cpu().split(extractor.batch):
            parts.append(extractor.features(part))
            done(min(len(pixels), len(parts) * extractor.batch), len(pixels))
    return torch.cat(parts)


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """The first 16 hex digits of the sha256 of names, types, shapes and values, in the names' order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
