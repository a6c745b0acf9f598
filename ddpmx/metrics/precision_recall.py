"""Precision (do generated images look real?) and recall (are all real images covered?)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..components.registry import METRICS
from ..errors import SpecError
from .base import reference_split
from .feature_metric import NeighbourMetric
from .floors import floor_images
from .halves import COUNT, halves, interval
from .neighbours import inside, likeliest_balls, nearest
from .score import Score
from .subject import Subject

BALLS = 128
"""Number of generated images' balls that are checked for each real image when the recall of halves is
computed."""


@METRICS.register("precision_recall", paper="Kynkäänniemi et al. 2019, arXiv:1904.06991")
class PrecisionRecall(NeighbourMetric):
    """Precision and recall of nearest-neighbour manifolds; higher is better.

    The manifold of a set of images is the union of balls around their features, each reaching to the k-th
    nearest other image. Precision is the share of generated images in the real manifold, and recall the share
    of real images in the generated manifold. Comparable only at equal numbers of images.
    """

    score_suffixes: ClassVar[tuple[str, ...]] = (".precision", ".recall")

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"precision_recall.precision": …, "precision_recall.recall": …}`, for 2(k + 1) images or more."""
        self.check(subject.data)
        extractor = self.extractor(subject)
        split = reference_split(subject.data, self.reference)
        generated, real = subject.features(extractor), subject.real_features(extractor, split)
        n = len(generated)
        if n < 2 * (self.k + 1):
            message = f"needs at least {2 * (self.k + 1)} generated images, not {n}"
            raise SpecError(message, field="k", hint="evaluate.samples")
        is_precise = inside(generated, real, _radii(real, self.k)).double()  # [n]
        subject.progress("precision and recall", 1, 3)
        recall = float(inside(real, generated, _radii(generated, self.k)).double().mean())
        subject.progress("precision and recall", 2, 3)
        half_precisions = halves(n).double() @ is_precise / (n // 2)  # [COUNT]
        half_recalls = recalls_of_halves(generated, real, self.k)
        floor_of = floor_images(subject, extractor, split, real, n)
        floors = precision_recall(floor_of.part, floor_of.others, self.k)
        subject.progress("precision and recall", 3, 3)
        scores = {}
        for name, value, half_values, images, floor in (
            ("precision", float(is_precise.mean()), half_precisions, n, floors[0]),
            ("recall", recall, half_recalls, len(real), floors[1]),
        ):
            scores[f"precision_recall.{name}"] = Score(
                value=value,
                better="higher",
                n=n,
                seed=subject.seed,
                split=split,
                extractor=extractor.hash,
                preprocessing=extractor.preprocessing,
                # rule of three: a share of m images that is equal in all halves is still uncertain by 3/m
                interval=interval(value, half_values, n, low=0.0, high=1.0, minimum=3 / images),
                interval_note=f"{COUNT} random halves",
                floor=floor,
                floor_n=len(floor_of.part),
                floor_split=floor_of.split,
                values=half_values,
            )
        return scores


def precision_recall(generated: Tensor, real: Tensor, k: int) -> tuple[float, float]:
    """Precision and recall of features [n, d] and [N, d] (Kynkäänniemi et al. 2019, eqs. 1 and 2)."""
    precision = inside(generated, real, _radii(real, k))
    recall = inside(real, generated, _radii(generated, k))
    return float(precision.double().mean()), float(recall.double().mean())


def recalls_of_halves(generated: Tensor, real: Tensor, k: int) -> Tensor:
    """The recall [COUNT] of random halves of the generated images.

    Neighbours and balls are listed once, for all images. The lists are so long that the probability of a half
    containing too few of their entries is below one in a million.
    """
    n = len(generated)
    count = min(n - 1, 4 * k + 40)
    distances, neighbours = nearest(generated, count)  # [n, count] each
    ball_distances, balls = likeliest_balls(real, generated, distances[:, k - 1], BALLS)  # [N, BALLS] each
    recalls = []
    for half in halves(n):
        in_half = half[neighbours]  # [n, count]
        # the k-th neighbour in this half, or the last listed one
        kth = (in_half.cumsum(1) >= k).to(torch.uint8).argmax(1)  # [n]
        kth[in_half.sum(1) < k] = count - 1
        radii = distances.gather(1, kth[:, None])[:, 0]
        radii[~half] = -1  # contains nothing
        recalls.append((ball_distances <= radii[balls]).any(1).double().mean())
    return torch.stack(recalls)


def _radii(features: Tensor, k: int) -> Tensor:
    """Squared distance to the k-th nearest other image, [n]."""
    return nearest(features, k)[0][:, -1]
