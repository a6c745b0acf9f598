"""The images' part of the noise of differences: what other generated or real images would change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .scores import FloatArray, SpecScores


class ImagesPart:
    """The covariance of the mean scores of specs over another draw of images.

    Specs with aligned draws covary; all others are taken as independent.
    """

    covariance: FloatArray
    """[G, G], in squared units of the score; 0 where nothing is known."""
    known: list[bool]
    """Whether anything is known about the images' noise of each spec."""
    freedom: float
    """The degrees of freedom of the covariance: the smallest of any group of aligned specs, else infinite."""

    def __init__(self, specs: Sequence[SpecScores]) -> None:
        own = [spec.own_variance for spec in specs]
        self.known = [variance is not None for variance in own]
        self.covariance = np.diag([variance or 0.0 for variance in own])
        self.freedom = math.inf
        groups: dict[tuple[str, int, int | None], list[int]] = {}
        for position, spec in enumerate(specs):
            if spec.draws is not None:
                groups.setdefault(spec.draws.aligned_with, []).append(position)
        for (_, count, _), members in groups.items():
            self.freedom = min(self.freedom, count - 1)
            if len(members) > 1:
                self._align(members, specs)

    def _align(self, members: list[int], specs: Sequence[SpecScores]) -> None:
        draws = [each for each in (specs[position].draws for position in members) if each is not None]
        covariance = draws[0].covariance(np.stack([each.values.mean(axis=0) for each in draws]))
        excess = np.diag([specs[position].excess for position in members])
        self.covariance[np.ix_(members, members)] = covariance + excess

    def sd(self, i: int, k: int) -> float | None:
        """The standard deviation of the difference of two specs; None where nothing is known of either.

        Where one of them is unknown, it is that of the other.
        """
        if not (self.known[i] or self.known[k]):
            return None
        variance = self.covariance[i, i] + self.covariance[k, k] - 2 * self.covariance[i, k]
        return math.sqrt(max(0.0, float(variance)))
