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


class Reference:
    """The real side, whose part of the work is done once."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.factor = _factor(features)
        self.trace = self.factor.square().sum()

    def distance(self, features: Tensor) -> float:
        """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) (Heusel et al. 2017, eq. 6) of features [n, d], n ≥ 2.

        With Σ' = F·Fᵀ the eigenvalues of ΣΣ' are those of FᵀΣF, which is symmetric, and zeros.
        """
        if len(features) < features.shape[1]:
            mean, factor = _factor(features)
            trace = factor.square().sum()
            across = self.factor.T @ factor  # [r, n]
            product = across @ across.T if len(across) <= len(features) else across.T @ across
        else:
            mean, covariance = _moments(features)
            trace = covariance.trace()
            product = self.factor.T @ covariance @ self.factor
        cross = torch.linalg.eigvalsh(product).clamp_min(0).sqrt().sum()
        return float((mean - self.mean).square().sum() + trace + self.trace - 2 * cross)


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


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [d] and unbiased covariance [d, d], a few rows in float64 at a time."""
    mean = features.mean(0, dtype=torch.float64)
    covariance = mean.new_zeros(len(mean), len(mean))
    for part in features.split(ROWS):
        centred = part.double() - mean
        covariance.addmm_(centred.T, centred)
    return mean, covariance / (len(features) - 1)


def _factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [d] and a factor F [d, min(n, d)] of the covariance F·Fᵀ: of fewer features than dimensions, the centred features."""
    if len(features) < features.shape[1]:
        mean = features.mean(0, dtype=torch.float64)
        return mean, (features.double() - mean).T / (len(features) - 1) ** 0.5
    mean, covariance = _moments(features)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors * values.clamp_min(0).sqrt()
