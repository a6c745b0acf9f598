"""The Fréchet distance between Gaussians with the means and covariances of two sets of features, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Split
from .features import Extractor
from .halves import COUNT, halves, interval, real_parts
from .score import Score
from .subject import Subject

WIDE, WIDE_COUNT = 256, 20
"""Above so many features one distance takes seconds, and the interval comes from so many halves."""
ROWS = 4096
"""Features that are made float64 at a time, or twice as many as there are dimensions."""


class Reference:
    """The real side, whose part of the work is done once."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.factor = _factor(features)
        self.trace = self.factor.square().sum()

    def distance(self, features: Tensor) -> float:
        """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) (Heusel et al. 2017, eq. 6) of features [n, d], n ≥ 2; never below 0.

        With Σ = AᵀA and Σ' = BᵀB the last trace is the sum of the singular values of A·Bᵀ. No covariance is formed: the root of its
        rounding errors would be far larger than they are.
        """
        mean, factor = _factor(features)
        cross = torch.linalg.svdvals(factor @ self.factor.T).sum()
        return max(
            0.0, float((mean - self.mean).square().sum() + factor.square().sum() + self.trace - 2 * cross)
        )


def frechet_score(subject: Subject, extractor: Extractor, split: Split) -> Score:
    """The distance of the subject's images from those of a split, 2 of each or more."""
    drawn, real = subject.features(extractor), subject.real_features(extractor, split)
    reference, n = Reference(real), len(drawn)
    value = reference.distance(drawn)
    count = COUNT if drawn.shape[1] <= WIDE else WIDE_COUNT
    bounds, note = None, "needs 4 images"
    if n >= 4:
        values = []
        for half in halves(n, count):
            values.append(reference.distance(drawn[half]))
            subject.progress("interval of the distance", len(values), count)
        bounds, note = interval(value, torch.tensor(values), n, low=0.0), f"{count} random halves"
    some, others = real_parts(real, n)
    enough = len(some) >= 2
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
        floor=Reference(others).distance(some) if enough else None,
        floor_n=len(some) if enough else 0,
    )


def _factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [d], and a factor F [min(n, d), d] of the unbiased covariance FᵀF: the centred features, or R of their QR decomposition."""
    n, d = features.shape
    mean = features.mean(0, dtype=torch.float64)
    scale = (n - 1) ** -0.5
    if n <= d:
        return mean, (features.double() - mean) * scale
    factor = mean.new_zeros(0, d)
    for part in features.split(max(ROWS, 2 * d)):
        factor = torch.linalg.qr(torch.cat((factor, (part.double() - mean) * scale)), mode="r").R
    return mean, factor
