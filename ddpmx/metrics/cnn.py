"""Metrics in the eyes of a classifier of the data set's own classes."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import METRICS
from ..data import Data
from .base import Metric, Reference, reference_images, reference_split
from .classifier import classifier, training_labels
from .features import Extractor, weights_hash
from .frechet import frechet_score
from .inception_score import inception_score
from .score import Score
from .subject import Subject


class Cnn(Extractor):
    """The data set's classifier without its last layer: 128 features. Raises SpecError for data without labels."""

    preprocessing = "8-bit values / 127.5 − 1"
    batch = 100  # a larger one's activations leave the caches and are handed back to the system

    def __init__(self, data: Data) -> None:
        self._network = classifier(data).network
        self.hash = weights_hash(self._network.state_dict())

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [n, 128]."""
        return self._network.features(pixels)

    def logits(self, features: Tensor) -> Tensor:
        """What the last layer makes of features: float32 [n, classes]."""
        return self._network.head(features)  # type: ignore[no-any-return]


@METRICS.register("fd_cnn", paper="Heusel et al. 2017, arXiv:1706.08500")
class FdCnn(Metric):
    """Fréchet distance to real images in the features of a small CNN trained on the data set; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over 128 features. Comparable only within a data set, and at equal numbers of
    images: few of them bias it upwards.
    """

    reference: Reference = None
    """The real images to compare with; null: the test split where there is one, else the training images."""

    def check(self, data: Data) -> None:
        training_labels(data)
        reference_images(data, self.reference)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"fd_cnn": distance}`, from 2 images on."""
        self.check(subject.data)
        return {
            "fd_cnn": frechet_score(subject, Cnn(subject.data), reference_split(subject.data, self.reference))
        }


@METRICS.register("is_cnn", paper="Salimans et al. 2016, arXiv:1606.03498")
class IsCnn(Metric):
    """Inception score by a small CNN trained on the data set instead of Inception; higher is better.

    exp(mean KL(p(y|x) ‖ p(y))), between 1 and the number of classes.
    """

    splits: int = Field(default=1, ge=1)
    """Take the score of so many parts, and of these the mean."""

    def check(self, data: Data) -> None:
        training_labels(data)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"is_cnn": score}`, from 2 images for each part on."""
        cnn = Cnn(subject.data)
        return {"is_cnn": inception_score(subject, cnn, cnn.logits, self.splits)}
