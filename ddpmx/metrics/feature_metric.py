"""Metrics in the features of a data set's own classifier, or in Inception's."""

from __future__ import annotations

from typing import Literal

from ..data import Data
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
