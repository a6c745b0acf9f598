"""The Fréchet distance in the features of the data set's own classifier."""

from __future__ import annotations

from ..components.registry import METRICS
from ..data import Data
from .base import Metric, Reference, reference_images, reference_split
from .classifier import FEATURES, training_labels
from .cnn import Cnn
from .frechet import frechet_score
from .score import Score
from .subject import Subject


@METRICS.register("fd_cnn", paper="Heusel et al. 2017, arXiv:1706.08500")
class FdCnn(Metric):
    """Fréchet distance to real images in the features of a CNN trained on the data set; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over 128 features. Comparable only within one data set and at equal
    numbers of images: small numbers bias it upwards.
    """

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""

    def check(self, data: Data) -> None:
        training_labels(data)
        reference_images(data, self.reference)

    def feature_dimension(self, data: Data) -> int:
        return FEATURES

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"fd_cnn": distance}`, for 2 images or more."""
        self.check(subject.data)
        split = reference_split(subject.data, self.reference)
        return {"fd_cnn": frechet_score(subject, Cnn(subject.data), split)}
