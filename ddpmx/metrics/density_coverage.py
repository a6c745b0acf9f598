"""Density (how deep are generated images inside the real ones?) and coverage (are all real ones reached?)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import METRICS
from .base import reference_split
from .feature_metric import NeighbourMetric
from .floors import floor_images
from .halves import COUNT, halves, interval
from .neighbours import nearest, squared_distances
from .score import Score
from .subject import Subject


@METRICS.register("density_coverage", paper="Naeem et al. 2020, arXiv:2002.09797")
class DensityCoverage(NeighbourMetric):
    """Density and coverage of nearest-neighbour balls around real images; higher is better.

    Each real image has a ball that reaches to its k-th nearest other real image. Density is the mean number
    of balls that a generated image lies in, divided by k: 1 for a perfect model, and more for one that
    prefers typical images. Coverage is the share of real images whose ball contains a generated image. Both
    are those of the package `prdc`. Comparable only at equal numbers of images: coverage grows with that of
    generated ones.
    """

    score_names: ClassVar[tuple[str, ...]] = ("density", "coverage")
    k: int = Field(default=5, ge=1, le=100)
    """Rank of the neighbour that sets a ball's radius."""

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"density": …, "coverage": …}`, for 4 images or more."""
        self.check(subject.data)
        subject.check_images(4)
        extractor = self.extractor(subject)
        split = reference_split(subject.data, self.reference)
        generated, real = subject.features(extractor), subject.real_features(extractor, split)
        n = len(generated)
        found = balls_around(real, generated, self.k)
        subject.progress("density and coverage", 1, 2)
        # coverage depends on the number of real images too
        images_of_floor = floor_images(subject, extractor, split, real, n, whole=True)
        floor = balls_around(images_of_floor.others, images_of_floor.part, self.k)
        subject.progress("density and coverage", 2, 2)
        return {
            name: Score(
                value=value,
                better="higher",
                n=n,
                seed=subject.seed,
                split=split,
                extractor=extractor.hash,
                preprocessing=extractor.preprocessing,
                # rule of three: a share of m images that is equal in all halves is still uncertain by 3/m
                interval=interval(value, half_values, n, low=0.0, high=high, minimum=3 / images),
                interval_note=f"{COUNT} random halves",
                floor=floor_value,
                floor_n=len(images_of_floor.part),
                floor_split=images_of_floor.split,
                values=half_values,
            )
            for name, value, half_values, images, high, floor_value in (
                ("density", found.density, found.density_of_halves(), n, torch.inf, floor.density),
                ("coverage", found.coverage, found.coverage_of_halves, len(real), 1.0, floor.coverage),
            )
        }


@dataclass(frozen=True, eq=False)
class Balls:
    """Which balls around real images contain which of n generated images."""

    k: int
    """Rank of the neighbour that sets a ball's radius."""
    counts: Tensor
    """Number of balls that each generated image lies in: float64 [n]."""
    coverage: float
    """Share of the balls that contain a generated image."""
    coverage_of_halves: Tensor
    """The same for random halves of the generated images: float64 [COUNT]."""

    @property
    def density(self) -> float:
        """Mean number of balls that a generated image lies in, divided by k (Naeem et al. 2020, eq. 5)."""
        return float(self.counts.mean()) / self.k

    def density_of_halves(self) -> Tensor:
        """The density of random halves of the generated images, float64 [COUNT]."""
        n = len(self.counts)
        return halves(n).double() @ self.counts / (n // 2 * self.k)


def balls_around(real: Tensor, generated: Tensor, k: int) -> Balls:
    """The balls around features [N, d], N > k, with those of features [n, d] inside; in chunks of rows."""
    radii = nearest(real, k)[0][:, -1]  # squared, [N]
    in_half = halves(len(generated)).float()  # [COUNT, n]
    counts, covered = torch.zeros(len(generated), dtype=torch.float64), 0
    covered_by_halves = torch.zeros(COUNT, dtype=torch.float64)
    for rows, squared in squared_distances(real, generated):
        inside = squared < radii[rows, None]  # [rows, n]
        counts += inside.sum(0)
        covered += int(inside.any(1).sum())
        covered_by_halves += (inside.float() @ in_half.T > 0).sum(0)
    return Balls(k, counts, covered / len(real), covered_by_halves / len(real))
