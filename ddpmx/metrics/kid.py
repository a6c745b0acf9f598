"""The kernel Inception distance."""

from __future__ import annotations

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data
from .base import Reference, reference_images, reference_split
from .inception import Inception, InceptionMetric, check_inception
from .kernel_distance import kernel_score
from .score import Score
from .subject import Subject


@METRICS.register("kid", paper="Bińkowski et al. 2018, arXiv:1801.01401")
class Kid(InceptionMetric):
    """Kernel distance to real images in Inception's features, unbiased at any sample size; lower is better.

    Mean over random subsets of mean k(x, x') + mean k(y, y') − 2 mean k(x, y), with k(x, y) = (x·y/d + 1)³,
    as torch-fidelity computes it.
    """

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""
    subsets: int = Field(default=100, ge=1)
    """Number of random subsets."""
    subset_size: int = Field(default=1000, ge=2)
    """Images in each subset; all images if there are fewer."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        check_inception(self.weights)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"kid": distance}`, for 2 images or more. It varies around 0 for a perfect model."""
        self.check(subject.data)
        inception = Inception(self.weights, subject.device)
        split = reference_split(subject.data, self.reference)
        return {"kid": kernel_score(subject, inception, split, self.subsets, self.subset_size)}
