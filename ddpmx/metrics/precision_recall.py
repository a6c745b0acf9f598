"""Precision (are the images real ones?) and recall (are all real ones among them?), apart from each other."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import METRICS
from ..data import Data
from ..errors import SpecError
from .base import Reference, reference_images, reference_split
from .classifier import training_labels
from .cnn import Cnn
from .features import Extractor
from .halves import COUNT, halves, interval, real_parts
from .inception import Inception, InceptionMetric, check_inception
from .neighbours import inside, likeliest_balls, nearest
from .score import Score
from .subject import Subject

BALLS = 128
"""Of all generated images' balls, those that are looked at for each real image when halves are counted."""


@METRICS.register("precision_recall", paper="Kynkäänniemi et al. 2019, arXiv:1904.06991")
class PrecisionRecall(InceptionMetric):
    """Precision and recall of nearest-neighbour manifolds; higher is better, at equal numbers of images only.

    A set's manifold is the union of balls around its images' features that reach to the k-th nearest of the others.
    Precision: the share of generated images in the real manifold; recall: that of real ones in the generated manifold.
    """

    reference: Reference = None
    """The real images to compare with; null: the test split where there is one, else the training images."""
    k: int = Field(default=3, ge=1, le=100)
    """The neighbour that a ball reaches to."""
    features: Literal["cnn", "inception"] = "cnn"
    """The network whose features are compared: the data set's own classifier, or Inception with `weights`."""

    def check(self, data: Data) -> None:
        real = reference_images(data, self.reference)
        if len(real) < 2 * (self.k + 1):
            raise SpecError(f"needs {2 * (self.k + 1)} real images or more, not {len(real)}", field="k")
        if self.features == "cnn":
            training_labels(data)
        else:
            check_inception(self.weights)

    def missing(self) -> str:
        return super().missing() if self.features == "inception" else ""

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"precision_recall.precision": …, "precision_recall.recall": …}`, from 2(k + 1) images on."""
        self.check(subject.data)
        extractor: Extractor = (
            Cnn(subject.data) if self.features == "cnn" else Inception(self.weights, subject.device)
        )
        drawn, real = (
            subject.features(extractor),
            subject.real_features(extractor, reference_split(subject.data, self.reference)),
        )
        n = len(drawn)
        if n < 2 * (self.k + 1):
            raise SpecError(
                f"needs {2 * (self.k + 1)} generated images or more, not {n}",
                field="k",
                hint="evaluate.samples",
            )
        right = inside(drawn, real, _radii(real, self.k)).double()
        subject.progress("precision and recall", 1, 3)
        recall = float(inside(real, drawn, _radii(drawn, self.k)).double().mean())
        subject.progress("precision and recall", 2, 3)
        precisions = halves(n).double() @ right / (n // 2)
        recalls = recalls_of_halves(drawn, real, self.k)
        some, others = real_parts(real, n)
        floors = precision_recall(some, others, self.k)
        subject.progress("precision and recall", 3, 3)
        found = {}
        for name, value, spread, counted, floor in (
            ("precision", float(right.mean()), precisions, n, floors[0]),
            ("recall", recall, recalls, len(real), floors[1]),
        ):
            found[f"precision_recall.{name}"] = Score(
                value=value,
                better="higher",
                n=n,
                seed=subject.seed,
                split=reference_split(subject.data, self.reference),
                extractor=extractor.hash,
                preprocessing=extractor.preprocessing,
                # rule of three: a share of m images that no half moved is still uncertain by 3/m
                interval=interval(value, spread, n, low=0.0, high=1.0, least=3 / counted),
                interval_note=f"{COUNT} random halves",
                floor=floor,
                floor_n=len(some),
            )
        return found


def precision_recall(drawn: Tensor, real: Tensor, k: int) -> tuple[float, float]:
    """Shares of features [n, d] and [N, d] in each other's manifold (Kynkäänniemi et al. 2019, eqs. 1 and 2)."""
    precision, recall = inside(drawn, real, _radii(real, k)), inside(real, drawn, _radii(drawn, k))
    return float(precision.double().mean()), float(recall.double().mean())


def recalls_of_halves(drawn: Tensor, real: Tensor, k: int) -> Tensor:
    """The recall [COUNT] of random halves of the drawn images.

    From lists of so many neighbours and balls that a half holds too few of them less than once in a million halves.
    """
    n = len(drawn)
    count = min(n - 1, 4 * k + 40)
    distances, neighbours = nearest(drawn, count)
    apart, balls = likeliest_balls(real, drawn, distances[:, k - 1], BALLS)
    recalls = []
    for half in halves(n):
        kept = half[neighbours]  # [n, count]
        place = (kept.cumsum(1) >= k).to(torch.uint8).argmax(1)  # of the k-th that is kept, else the first
        place[kept.sum(1) < k] = count - 1
        radii = distances.gather(1, place[:, None])[:, 0]
        radii[~half] = -1
        recalls.append((apart <= radii[balls]).any(1).double().mean())
    return torch.stack(recalls)


def _radii(features: Tensor, k: int) -> Tensor:
    """Squared distance to the k-th nearest other, [n]."""
    return nearest(features, k)[0][:, -1]
