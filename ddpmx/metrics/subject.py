"""What a metric looks at: a model's images, the data that it was trained on, and the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data import Data
from ..errors import RunError, SpecError
from .features import Extractor, extract

if TYPE_CHECKING:
    from ..training.experiment import Experiment

Progress = Callable[[str, int, int], None]
"""Called with (what, done, in all); raises to stop."""


def quiet(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One model, once: metrics that are taken of the same subject share the features of its images."""

    data: Data
    images: Tensor
    """uint8 [n, c, h, w] from the model; n is 0 where no metric needs images."""
    seed: int = 0
    """Of the noise that they were drawn from."""
    progress: Progress = quiet
    experiment: Experiment | None = None
    """With `network`, for metrics of the model itself instead of its images."""
    network: nn.Module | None = None
    _features: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where a large network may run."""
        return torch.device("cpu") if self.experiment is None else self.experiment.device

    def features(self, extractor: Extractor) -> Tensor:
        """float32 [n, d] of the images. Raises SpecError for images of another shape than the data's, or fewer than 2."""
        wanted = [self.data.channels, self.data.size, self.data.size]
        if self.images.dtype != torch.uint8 or list(self.images.shape[1:]) != wanted:
            found = f"{self.images.dtype} {list(self.images.shape)}"
            raise SpecError(f"the images of '{self.data.name}' are uint8 [n, *{wanted}], not {found}")
        if len(self.images) < 2:
            raise SpecError(
                f"needs at least 2 generated images, not {len(self.images)}", hint="evaluate.samples"
            )
        key = extractor.preprocessing + (extractor.hash or "")
        if key not in self._features:
            features = extract(
                extractor, self.images, lambda done, all_: self.progress("features", done, all_)
            )
            self._features[key] = _finite(features, "drawn")
        return self._features[key]

    def real_features(self, extractor: Extractor, split: str) -> Tensor:
        """float32 [N, d] of a split's images, from the cache where they were made before."""
        images = dict(self.data.splits())[split]
        features = extractor.real(
            images.pixels, lambda done, all_: self.progress(f"features of the {split} images", done, all_)
        )
        return _finite(features, split)


def _finite(features: Tensor, of: str) -> Tensor:
    """The features. Raises RunError for NaN or infinity, of which no score can be made."""
    if not bool(features.isfinite().all()):
        raise RunError(
            f"the features of the {of} images are not finite: the network that makes them is damaged"
        )
    return features
