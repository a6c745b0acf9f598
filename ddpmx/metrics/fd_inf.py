"""The Fréchet distance extrapolated to infinitely many generated images."""

from __future__ import annotations

import torch

from ..components.registry import METRICS
from ..data import Data
from .base import Reference, reference_images, reference_split
from .classifier import FEATURES
from .extrapolation import LEAST_IMAGES, Extrapolation
from .feature_metric import FeatureMetric
from .floors import floor_images
from .frechet import FEWER_HALVES, MANY_FEATURES
from .frechet import Reference as RealFeatures
from .halves import COUNT, halves, interval
from .inception import FEATURES as INCEPTION_FEATURES
from .score import Score
from .subject import Subject

LINE = 2
"""With fewer images than so many times the feature dimension, distances are no line in 1/n."""


@METRICS.register("fd_inf", paper="Chong & Forsyth 2020, arXiv:1911.07023")
class FdInf(FeatureMetric):
    """Fréchet distance to real images, extrapolated to infinitely many generated ones; lower is better.

    A line in 1/n through the distances of subsets of n/4 to n images, continued to 1/n = 0. It removes the
    bias of few generated images, which is in proportion to 1/n, but not that of few real ones: the reference
    is the same for all subsets. Values may be negative: those of a perfect model scatter around 0, but for
    the reference's bias, and cutting them off at 0 would bias their mean. Below 2 × the feature dimension
    (128, or 2048 of Inception), the line is bent and the values are somewhat too low.
    """

    reference: Reference = None
    """Split of the real images to compare with; null: the test split if there is one, else the training
    images."""

    def check(self, data: Data) -> None:
        super().check(data)
        reference_images(data, self.reference)

    def feature_dimension(self, data: Data) -> int:
        return FEATURES if self.features == "cnn" else INCEPTION_FEATURES

    def samples_note(self, data: Data, samples: int) -> str:
        dimension = self.feature_dimension(data)
        least = LINE * dimension
        if samples >= least:
            return ""
        return (
            f"'fd_inf': {samples:,} generated images are fewer than {LINE} × its {dimension:,} feature"
            f" dimensions, where a line in 1/n is too low (evaluate.samples of {least:,} or more)"
        )

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"fd_inf": distance}`, for 20 images or more."""
        self.check(subject.data)
        subject.check_images(LEAST_IMAGES)
        extractor = self.extractor(subject)
        split = reference_split(subject.data, self.reference)
        generated, real = subject.features(extractor), subject.real_features(extractor, split)
        n, dimension = generated.shape
        reference = RealFeatures(real)
        extrapolation = Extrapolation(reference, generated)
        value = extrapolation.line().value
        count = COUNT if dimension <= MANY_FEATURES else FEWER_HALVES
        values = []
        for half in halves(n, count):
            values.append(extrapolation.line(half).value)
            subject.progress("interval of the extrapolated distance", len(values), count)
        half_values = torch.tensor(values, dtype=torch.float64)
        floor = floor_images(subject, extractor, split, real, n)
        has_floor = len(floor.part) >= LEAST_IMAGES
        compared = reference if floor.others is real else RealFeatures(floor.others)
        floor_n = len(floor.part) if has_floor else 0
        too_few = LINE * dimension
        return {
            "fd_inf": Score(
                value=value,
                better="lower",
                n=n,
                seed=subject.seed,
                split=split,
                extractor=extractor.hash,
                preprocessing=extractor.preprocessing,
                interval=interval(value, half_values, n),
                interval_note=f"{count} random halves, each extrapolated",
                floor=Extrapolation(compared, floor.part).line().value if has_floor else None,
                floor_n=floor_n,
                floor_split=floor.split if has_floor else None,
                depends_on_n=min(n, floor_n) < too_few,
                facts={
                    "reference images": len(real),
                    **({f"fewer images than {LINE} × features": too_few} if n < too_few else {}),
                },
                values=half_values,
            )
        }
