"""Features and logits of the data set's own classifier, for `fd_cnn`, `is_cnn` and `precision_recall`."""

from __future__ import annotations

from torch import Tensor

from ..data import Data
from .classifier import classifier
from .features import Extractor, weights_hash


class Cnn(Extractor):
    """The 128 features of the data set's classifier. Raises SpecError for data without labels."""

    preprocessing = "8-bit values / 127.5 − 1"
    batch = 100  # the activations of a larger batch leave the CPU's caches and are returned to the system

    def __init__(self, data: Data) -> None:
        self._network = classifier(data).network
        self.hash = weights_hash(self._network.state_dict())

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, 128] of uint8 [n, c, size, size]."""
        return self._network.features(pixels)

    def logits(self, features: Tensor) -> Tensor:
        """The last layer's output for features: float32 [n, classes]."""
        return self._network.head(features)  # type: ignore[no-any-return]
