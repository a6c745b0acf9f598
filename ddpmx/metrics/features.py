"""Feature extractors: networks that turn images into vectors, with those of real images cached on disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..data.cache import read, write
from ..files import cache_root

Done = Callable[[int, int], None]
"""Called with (images done, all images)."""


class Extractor(ABC):
    """Turns images into the vectors that metrics compare."""

    hash: str | None
    """Hash of the weights (`weights_hash`); None if there are no weights."""
    preprocessing: str
    """How pixels are converted for the network."""
    batch: int
    """Images per call of `features`."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, d] of uint8 [n, c, h, w]."""

    def real(self, pixels: Tensor, done: Done) -> Tensor:
        """Features of real images, float32 [N, d], cached by the hashes of the images and of the weights."""
        shape = f"{list(pixels.shape)}".encode()
        content = hashlib.sha256(shape + pixels.contiguous().numpy().data).hexdigest()[:32]
        path = cache_root() / "features" / f"{content}-{self.hash}.safetensors"
        features = read(path, lambda tensors, facts: _checked(tensors["features"], len(pixels)))
        if features is None:
            features = extract(self, pixels, done)
            write(path, {"features": features}, {"images": len(pixels)})
        return features


class Pixels(Extractor):
    """The pixels themselves as features, without a network."""

    hash = None
    preprocessing = "8-bit values, flattened"
    batch = 10_000

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, c·h·w] in 0…255, of uint8 [n, c, h, w]."""
        return pixels.flatten(1).float()

    def real(self, pixels: Tensor, done: Done) -> Tensor:
        """`features`, not cached since nothing is computed."""
        return self.features(pixels)


def _checked(features: Tensor, images: int) -> Tensor:
    """The features, unchanged. Raises ValueError if they are not float32 [images, d] and finite."""
    if (
        features.dtype != torch.float32
        or features.dim() != 2
        or len(features) != images
        or not bool(features.isfinite().all())
    ):
        raise ValueError("not the features of these images")
    return features


def extract(extractor: Extractor, pixels: Tensor, done: Done) -> Tensor:
    """float32 [n, d] of uint8 [n, c, h, w], computed batch by batch."""
    parts: list[Tensor] = []
    with torch.no_grad():
        for part in pixels.cpu().split(extractor.batch):
            parts.append(extractor.features(part))
            done(min(len(pixels), len(parts) * extractor.batch), len(pixels))
    return torch.cat(parts)


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the sha256 of the tensors' names, types, shapes and values, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
