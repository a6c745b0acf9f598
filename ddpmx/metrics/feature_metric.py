"""Metrics in the features of a data set's own classifier, or in Inception's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..data import Data
from ..errors import SpecError
from .base import Reference, reference_images
from .classifier import training_labels
from .cnn import Cnn
from .features import Extractor
from .inception import Inception, InceptionMetric, check_inception
from .subject import Subject


class FeatureMetric(InceptionMetric):
    """Base of the metrics whose network of the features is a choice."""

    features: Literal["cnn", "inception"] = "cnn"
    """Network of the features: the data set's own classifier, or Inception with `weights`."""

    def check(self, data: Data) -> None:
        if self.features == "cnn":
            training_labels(data)
        else:
            check_inception(self.weights)

    def missing(self) -> str:
        return super().missing() if self.features == "inception" else ""

    def extractor(self, subject: Subject) -> Extractor:
        """The network of the features."""
        return Cnn(subject.data) if self.features == "cnn" else Inception(self.weights, subject.device)


class NeighbourMetric(FeatureMetric):
    """Base of the metrics of balls around features that reach to the k-th nearest other image."""

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""
    k: int = Field(default=3, ge=1, le=100)
    """Rank of the neighbour that sets a ball's radius."""

    def check(self, data: Data) -> None:
        real = reference_images(data, self.reference)
        if len(real) < 2 * (self.k + 1):
            raise SpecError(f"needs at least {2 * (self.k + 1)} real images, not {len(real)}", field="k")
        super().check(data)
