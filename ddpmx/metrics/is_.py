"""The inception score; the module's name has an underscore because `is` is a keyword."""

from __future__ import annotations

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data
from .inception import Inception, InceptionMetric, check_inception
from .inception_score import inception_score
from .score import Score
from .subject import Subject


@METRICS.register("is", paper="Salimans et al. 2016, arXiv:1606.03498")
class InceptionScore(InceptionMetric):
    """Inception score: how sure Inception is of each image, and how varied the classes are; higher is better.

    exp(mean KL(p(y|x) ‖ p(y))) over Inception's 1008 outputs, as torch-fidelity computes it.
    """

    splits: int = Field(default=10, ge=1)
    """Number of parts of the images; the result is the mean of their scores."""

    def check(self, data: Data) -> None:
        check_inception(self.weights)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"is": score}`, for 2 images per part or more."""
        inception = Inception(self.weights, subject.device)
        return {"is": inception_score(subject, inception, inception.logits, self.splits)}
