"""The Fréchet distance extrapolated to infinitely many generated images, by a line in 1/n.

Chong & Forsyth 2020, arXiv:1911.07023. The distance of n images exceeds that of infinitely many by c/n +
O(1/n²). A least-squares line through the distances of SIZES subset sizes, evenly spaced from n/4 to n, gives
the distance at 1/n = 0.

The subsets of one size are windows of one random order, closed to a circle and starting at evenly spaced
positions, so that all images count nearly equally. With 4 windows, the result has the standard deviation of
the plain distance of n images; with one subset of each size, it has up to 1.5 times that. Sizes evenly spaced
in 1/n have the same standard deviation and more bias, as they are smaller.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .frechet import MANY_FEATURES, Reference

SIZES = 8
"""Number of subset sizes."""
LEAST_IMAGES = 20
"""Fewest images that are extrapolated from, so that the sizes of their halves differ too."""


class Line(NamedTuple):
    """distance = value + slope/n."""

    value: float
    """The distance of infinitely many images; below 0 for half of the samples of a perfect model."""
    slope: float
    """How much a distance of n images exceeds it, times n."""


class Window(NamedTuple):
    """Rows start … start + size − 1 of n, with row 0 after row n − 1."""

    start: int
    size: int


def order(n: int) -> Tensor:
    """The random order of n images that windows are taken from; always the same for one n: int64 [n]."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(n))


def windows(n: int, features: int) -> list[list[Window]]:
    """The windows of each of SIZES sizes from n/4 to n: the larger the number of features, the fewer."""
    count = 4 if features <= MANY_FEATURES else 2
    sizes = torch.linspace(n / 4, n, SIZES, dtype=torch.float64).round().int().tolist()
    return [
        [Window(k * n // count, size) for k in range(count)] if size < n else [Window(0, n)] for size in sizes
    ]


class Extrapolation:
    """Features of generated images, whose distances from a reference are extrapolated."""

    def __init__(self, reference: Reference, features: Tensor) -> None:
        """`features` are [n, d]. The images' part of the distance is computed once for all subsets."""
        self._reference, self._order = reference, order(len(features))
        self._mean = features.mean(0, dtype=torch.float64)
        self._rows = features[self._order].double() - self._mean  # [n, d]
        # A covariance Σ' of features x is that of x·Aᵀ, AΣ'Aᵀ, in the coordinates of Σ = AᵀA.
        self._whitened = self._rows @ reference.factor.T  # [n, r]

    def line(self, chosen: Tensor | None = None) -> Line:
        """The line of all images, or of those that bool [n] says, at least LEAST_IMAGES // 2."""
        rows, whitened = self._rows, self._whitened
        if chosen is not None:
            mask = chosen[self._order]
            rows, whitened = rows[mask], whitened[mask]
        sizes = windows(len(rows), rows.shape[1])
        distances = self._distances(rows, whitened, [window for same in sizes for window in same])
        means = torch.stack([part.mean() for part in distances.split([len(same) for same in sizes])])
        return fitted(torch.tensor([same[0].size for same in sizes]), means)

    def _distances(self, rows: Tensor, whitened: Tensor, taken: list[Window]) -> Tensor:
        """The distance of each window's images, float64; rounding may make one slightly negative.

        Sums over windows are differences of sums up to their ends, so each image is read once.
        """
        n = len(rows)
        cuts = sorted({0, n, *(window.start for window in taken), *(sum(window) % n for window in taken)})
        lengths = [b - a for a, b in pairwise(cuts)]
        first = _cumulated([part.sum(0) for part in rows.split(lengths)])
        norms = _cumulated([part.square().sum() for part in rows.split(lengths)])
        first_whitened = _cumulated([part.sum(0) for part in whitened.split(lengths)])
        second = _cumulated([part.T @ part for part in whitened.split(lengths)])
        distances = []
        for start, size in taken:
            end = start + size
            i, j = cuts.index(start), cuts.index(end if end <= n else end - n)

            def over(sums: Tensor, i: int = i, j: int = j, wraps: bool = end > n) -> Tensor:
                return sums[j] - sums[i] + sums[-1] if wraps else sums[j] - sums[i]

            mean, mean_whitened = over(first) / size, over(first_whitened) / size
            # unbiased: Σ(x − μ)(x − μ)ᵀ = Σxxᵀ − nμμᵀ
            trace = (over(norms) - size * mean.square().sum()) / (size - 1)
            covariance = (over(second) - size * torch.outer(mean_whitened, mean_whitened)) / (size - 1)
            shift = mean + self._mean - self._reference.mean
            distances.append(shift.square().sum() + trace + self._reference.trace - 2 * _root(covariance))
        return torch.stack(distances)


def fitted(sizes: Tensor, distances: Tensor) -> Line:
    """The least-squares line distance = value + slope/n."""
    x = 1 / sizes.double()
    deviations = x - x.mean()
    slope = (deviations @ distances) / (deviations @ deviations)
    return Line(float(distances.mean() - slope * x.mean()), float(slope))


def _cumulated(parts: list[Tensor]) -> Tensor:
    """Sums of the first 0, 1, … parts: one more than there are parts."""
    sums = torch.stack(parts).cumsum(0)
    return torch.cat((torch.zeros_like(sums[:1]), sums))


def _root(covariance: Tensor) -> Tensor:
    """tr C^½ of AΣ'Aᵀ [r, r], which is tr (ΣΣ')^½. What may be rounding of an eigenvalue 0 counts as 0."""
    eigenvalues: Tensor = torch.linalg.eigvalsh(covariance)
    rounding = len(covariance) * torch.finfo(covariance.dtype).eps * eigenvalues[-1]
    return eigenvalues.where(eigenvalues > rounding, 0).sqrt().sum()
