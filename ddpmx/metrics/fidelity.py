"""The metrics that papers report, in Inception's features, with torch-fidelity's numbers."""

from __future__ import annotations

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data
from .base import Reference, reference_images, reference_split
from .frechet import frechet_score
from .inception import Inception, InceptionMetric, check_inception
from .inception_score import inception_score
from .kid import kernel_score
from .score import Score
from .subject import Subject


@METRICS.register("fid", paper="Heusel et al. 2017, arXiv:1706.08500")
class Fid(InceptionMetric):
    """Fréchet distance to real images in Inception's features; lower is better.

    |μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) over 2048 features. Comparable only at equal numbers of images, of which it takes
    10,000 or more: few bias it upwards.
    """

    reference: Reference = None
    """The real images to compare with; null: the test split where there is one, else the training images."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        check_inception(self.weights)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"fid": distance}`, from 2 images on."""
        self.check(subject.data)
        return {
            "fid": frechet_score(
                subject,
                Inception(self.weights, subject.device),
                reference_split(subject.data, self.reference),
            )
        }


@METRICS.register("is", paper="Salimans et al. 2016, arXiv:1606.03498")
class InceptionScore(InceptionMetric):
    """Inception score: how sure Inception is of each image, and how varied its answers; higher is better.

    exp(mean KL(p(y|x) ‖ p(y))) over Inception's 1008 outputs.
    """

    splits: int = Field(default=10, ge=1)
    """Take the score of so many parts, and of these the mean."""

    def check(self, data: Data) -> None:
        check_inception(self.weights)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"is": score}`, from 2 images for each part on."""
        inception = Inception(self.weights, subject.device)
        return {"is": inception_score(subject, inception, inception.logits, self.splits)}


@METRICS.register("kid", paper="Bińkowski et al. 2018, arXiv:1801.01401")
class Kid(InceptionMetric):
    """Kernel distance to real images in Inception's features, without bias at any number of images; lower is better.

    The mean over random subsets of mean k(x, x') + mean k(y, y') − 2 mean k(x, y), with k(x, y) = (x·y/d + 1)³.
    """

    reference: Reference = None
    """The real images to compare with; null: the test split where there is one, else the training images."""
    subsets: int = Field(default=100, ge=1)
    """How many subsets the mean is of."""
    subset_size: int = Field(default=1000, ge=2)
    """Images in each; all, where there are fewer."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)
        check_inception(self.weights)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"kid": distance}`, from 2 images on; near 0 for a perfect model, and then as often below it as above."""
        self.check(subject.data)
        inception = Inception(self.weights, subject.device)
        return {
            "kid": kernel_score(
                subject,
                inception,
                reference_split(subject.data, self.reference),
                self.subsets,
                self.subset_size,
            )
        }
