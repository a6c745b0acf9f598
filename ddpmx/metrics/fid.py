"""The Fréchet Inception distance."""

from __future__ import annotations

from ..components.registry import METRICS
from ..data import Data
from .base import Reference, reference_images, reference_split
from .frechet import frechet_score
from .inception import FEATURES, Inception, InceptionMetric, check_inception
from .score import Score
from .subject import Subject


@METRICS.register("fid", paper="Heusel et al. 2017, arXiv:1706.08500")
class Fid(InceptionMetric):
    """Fréchet distance to real images in Inception's features; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over 2048 features, as torch-fidelity computes it. Comparable only at
    equal numbers of images, and biased upwards at small ones: use 10,000 or more.
    """

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        check_inception(self.weights)

    def feature_dimension(self, data: Data) -> int:
        return FEATURES

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"fid": distance}`, for 2 images or more."""
        self.check(subject.data)
        split = reference_split(subject.data, self.reference)
        return {"fid": frechet_score(subject, Inception(self.weights, subject.device), split)}
