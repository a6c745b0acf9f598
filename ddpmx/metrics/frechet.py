"""The Fréchet distance between Gaussians fitted to two sets of features, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Split
from .features import Extractor
from .floors import floor_images
from .halves import COUNT, halves, interval
from .score import Score
from .subject import Subject

MANY_FEATURES = 256
"""Above this number of features one distance takes seconds."""
FEWER_HALVES = 20
"""Number of halves behind the interval when there are many features."""
ROWS = 4096
"""Rows converted to float64 at a time, or twice the number of features if that is more."""


class Reference:
    """The real features, with their part of the distance computed once."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.factor = _factor(features)
        self.trace = self.factor.square().sum()

    def distance(self, features: Tensor) -> float:
        """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) for features [n, d], n ≥ 2; never below 0.

        Heusel et al. 2017, arXiv:1706.08500, eq. 6. With Σ = AᵀA and Σ' = BᵀB, tr (ΣΣ')^½ is the sum of the
        singular values of A·Bᵀ. No covariance is formed, since the square root would magnify its rounding
        errors.
        """
        mean, factor = _factor(features)
        # tr (ΣΣ')^½
        cross = torch.linalg.svdvals(factor @ self.factor.T).sum()
        # |μ − μ'|² + tr Σ + tr Σ' − 2 tr (ΣΣ')^½
        squared = (mean - self.mean).square().sum() + factor.square().sum() + self.trace - 2 * cross
        return max(0.0, float(squared))


def frechet_score(subject: Subject, extractor: Extractor, split: Split) -> Score:
    """The distance of the subject's images from those of a split, at least 2 of each."""
    generated, real = subject.features(extractor), subject.real_features(extractor, split)
    reference, n = Reference(real), len(generated)
    value = reference.distance(generated)
    count = COUNT if generated.shape[1] <= MANY_FEATURES else FEWER_HALVES
    bounds, note, half_values = None, "needs 4 images", None
    if n >= 4:
        values = []
        for half in halves(n, count):
            values.append(reference.distance(generated[half]))
            subject.progress("interval of the distance", len(values), count)
        half_values = torch.tensor(values, dtype=torch.float64)
        bounds, note = interval(value, half_values, n, low=0.0), f"{count} random halves"
    floor = floor_images(subject, extractor, split, real, n)
    has_floor = len(floor.part) >= 2
    compared = reference if floor.others is real else Reference(floor.others)
    return Score(
        value=value,
        better="lower",
        n=n,
        seed=subject.seed,
        split=split,
        extractor=extractor.hash,
        preprocessing=extractor.preprocessing,
        interval=bounds,
        interval_note=note,
        floor=compared.distance(floor.part) if has_floor else None,
        floor_n=len(floor.part) if has_floor else 0,
        floor_split=floor.split if has_floor else None,
        values=half_values,
    )


def _factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [d], and a factor F [min(n, d), d] of the unbiased covariance FᵀF.

    F is the matrix of centred features, or the R of its QR decomposition if n > d.
    """
    n, d = features.shape
    mean = features.mean(0, dtype=torch.float64)
    scale = (n - 1) ** -0.5
    if n <= d:
        return mean, (features.double() - mean) * scale
    factor = mean.new_zeros(0, d)
    for rows in features.split(max(ROWS, 2 * d)):
        factor = torch.linalg.qr(torch.cat((factor, (rows.double() - mean) * scale)), mode="r").R
    return mean, factor
