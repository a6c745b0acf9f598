"""Differences between specs with the noise that they have: of the images, and of the training seeds.

The images' part is the spread of a difference over the same random halves (or the same real images). It does
not shrink with seeds. The seeds' part is the spread of scores over training seeds, pooled over specs. The
intervals of all pairs of a family hold together with probability 1 − alpha. `docs/statistics.md` explains the
rule and shows its simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, NamedTuple

from .estimate import Estimate, Interval, student_t
from .images_part import ImagesPart
from .largest_t import images_critical
from .scores import SpecScores
from .seeds_part import SeedsPart

ALPHA = 0.05


@dataclass(frozen=True)
class Part:
    """One of the two independent noises of a difference."""

    sd: float
    """Standard deviation that it gives the difference of the means over seeds."""
    degrees_of_freedom: float
    """Of that standard deviation; infinite where it is as good as known."""
    critical: float
    """The multiple of `sd` that a difference of equal specs stays below, in all pairs together."""

    @property
    def half(self) -> float:
        """The half-width of the interval if this were the only noise."""
        return self.critical * self.sd if self.sd else 0.0


@dataclass(frozen=True)
class Difference:
    """A difference of two specs, with an interval that holds together with those of all pairs."""

    value: float
    """The mean over the seeds of the first, less that of the second."""
    level: Literal["specs", "networks"]
    """What it is about: `networks`, with one seed on either side, are those that were trained."""
    images: Part | None
    """None where nothing is known about the images' noise."""
    seeds: Part | None
    """None at the level of networks."""
    welch: bool = False
    """Whether a spec was unstable or its spread out of line, so that each is judged by its own spread."""

    @property
    def images_sd(self) -> float | None:
        """Standard deviation of the images' part."""
        return None if self.images is None else self.images.sd

    @property
    def seeds_sd(self) -> float | None:
        """Standard deviation of the seeds' part."""
        return None if self.seeds is None else self.seeds.sd

    @property
    def half(self) -> float | None:
        """The half-width of the interval; None where it is unknown: with one seed and no draws.

        √((c_seeds·SE_seeds)² + (c_images·SE_images)²), which for one pair covers at least 1 − alpha
        (Banerjee 1960, Sankhyā 22).
        """
        if self.seeds is None and self.images is None:
            return None
        return math.hypot(*(part.half for part in (self.images, self.seeds) if part is not None))

    @property
    def interval(self) -> Interval | None:
        """The value ± `half`."""
        half = self.half
        return None if half is None else (self.value - half, self.value + half)

    @property
    def is_significant(self) -> bool:
        """Whether the sign of the difference is known: the interval excludes 0."""
        return self.estimate.is_significant

    @property
    def decides_specs(self) -> bool:
        """Whether one spec is better than the other, and not only one network."""
        return self.level == "specs" and self.is_significant

    @property
    def estimate(self) -> Estimate:
        """The value with its interval."""
        return Estimate(self.value, self.interval)

    def __neg__(self) -> Difference:
        """The difference the other way round."""
        return Difference(-self.value, self.level, self.images, self.seeds, self.welch)


class _Shares(NamedTuple):
    """The part of alpha that falls to each sort of pair, in proportion to their numbers."""

    networks: float
    specs: float
    pooled: float
    one: float
    """To one pair."""


class Family:
    """All pairs of some specs, compared on one metric."""

    def __init__(self, specs: Sequence[SpecScores], alpha: float = ALPHA) -> None:
        """`alpha` is the probability that any interval misses its difference."""
        self.specs = tuple(specs)
        self.alpha = alpha
        self.images_part = ImagesPart(self.specs)
        self.seeds_part = SeedsPart(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The positions (i, k) of the specs of each pair, i < k."""
        return list(combinations(range(len(self.specs)), 2))

    @cached_property
    def differences(self) -> dict[tuple[int, int], Difference]:
        """The difference of each of `pairs`."""
        return {pair: self._difference(*pair) for pair in self.pairs}

    def difference(self, i: int, k: int) -> Difference:
        """Spec i less spec k, two different positions."""
        return self.differences[i, k] if i < k else -self.differences[k, i]

    def _difference(self, i: int, k: int) -> Difference:
        a, b = self.specs[i], self.specs[k]
        value = a.mean - b.mean
        if min(a.count, b.count) < 2:
            return Difference(value, "networks", self._images(i, k, "networks"), None)
        seeds, welch = self._seeds(i, k)
        return Difference(value, "specs", self._images(i, k, "specs"), seeds, welch)

    @cached_property
    def _shares(self) -> _Shares:
        pairs = self.pairs
        at_specs = [pair for pair in pairs if min(self.specs[spec].count for spec in pair) > 1]
        pooled = [pair for pair in at_specs if all(self.specs[spec].pooled for spec in pair)]
        return _Shares(
            1 - len(at_specs) / len(pairs),
            len(at_specs) / len(pairs),
            len(pooled) / len(pairs),
            1 / len(pairs),
        )

    def _images(self, i: int, k: int, level: Literal["specs", "networks"]) -> Part | None:
        part = self.images_part
        sd = part.sd(i, k)
        if sd is None or (level == "networks" and not (part.known[i] and part.known[k])):
            return None
        singles = sum(spec.count == 1 for spec in self.specs)
        if level == "networks":
            share = self._shares.networks
            critical = images_critical(
                len(self.specs), singles if share < 1 else 0, part.freedom, self.alpha * share
            )
        else:
            critical = images_critical(
                len(self.specs) - singles, 0, part.freedom, self.alpha * self._shares.specs
            )
        return Part(sd, part.freedom, critical)

    def _seeds(self, i: int, k: int) -> tuple[Part, bool]:
        part = self.seeds_part
        if part.is_pooled(i) and part.is_pooled(k):
            critical = part.critical(i, k, self.alpha * self._shares.pooled)
            return Part(part.pooled_sd(i, k), part.pooled_freedom(i, k), critical), False
        sd, freedom = part.welch(i, k)
        return Part(sd, freedom, student_t(freedom, self.alpha * self._shares.one)), True


def best(family: Family, lower_is_better: bool = True) -> tuple[int, ...]:
    """The positions of the specs that no other is better than, which is one if there is a winner.

    A spec with one seed is never beaten and beats none: its differences are of networks.
    """
    sign = 1 if lower_is_better else -1

    def beaten(i: int) -> bool:
        others = (family.difference(i, k) for k in range(len(family)) if k != i)
        return any(other.decides_specs and sign * other.value > 0 for other in others)

    return tuple(i for i in range(len(family)) if not beaten(i))
