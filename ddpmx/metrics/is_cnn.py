"""The inception score by the data set's own classifier."""

from __future__ import annotations

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data
from .base import Metric
from .classifier import training_labels
from .cnn import Cnn
from .inception_score import inception_score
from .score import Score
from .subject import Subject


@METRICS.register("is_cnn", paper="Salimans et al. 2016, arXiv:1606.03498")
class IsCnn(Metric):
    """Inception score by a CNN trained on the data set instead of Inception; higher is better.

    exp(mean KL(p(y|x) ‖ p(y))), between 1 and the number of classes.
    """

    splits: int = Field(default=1, ge=1)
    """Number of parts of the images; the result is the mean of their scores."""

    def check(self, data: Data) -> None:
        training_labels(data)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"is_cnn": score}`, for 2 images per part or more."""
        cnn = Cnn(subject.data)
        return {"is_cnn": inception_score(subject, cnn, cnn.logits, self.splits)}
