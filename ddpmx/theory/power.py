"""What a comparison could have shown, and how many seeds or images would show a given difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri, ndtr

from ..text import number
from .differences import Difference, Family, Part
from .future import Future, future_seeds
from .scores import FloatArray

POWER = 0.8
MOST = 64
"""The most seeds a side, and the most times the images, that are looked for."""
POINTS = 400
"""Quantiles of the estimated variances that power is averaged over."""


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, which are infinite where they are more than MOST."""

    low: float
    high: float

    def above(self, least: float) -> Range:
        """The range with both ends at least this."""
        return Range(max(self.low, least), max(self.high, least))

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"more than {MOST}"
        low = math.ceil(self.low - 1e-9)
        if math.isinf(self.high):
            return f"{low} to more than {MOST}"
        high = math.ceil(self.high - 1e-9)
        return f"{low}" if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Needs:
    """What would show a difference of some size in 80 % of cases.

    Each range is that of the 95 % interval of the variance that seeds, or images, make smaller.
    """

    size: float
    """The difference, at least 0."""
    seeds: Range | None
    """Seeds of every spec; None where the images' part alone is too large, or the seeds' is unknown."""
    images: Range | None
    """Times as many images; None where the seeds' part alone is too large, or the images' is unknown."""


def smallest_shown(difference: Difference) -> float | None:
    """The smallest difference that data like these show in 80 % of cases, with the correction in use.

    None where the difference has no interval.
    """
    return None if difference.half is None else _shown(difference.images, difference.seeds)


def needs(family: Family, i: int, k: int, size: float | None = None) -> Needs:
    """What would show a difference of `size`, or of the one seen, between specs i and k.

    What did not show the one seen does not count as enough: its ranges begin above the present numbers.
    """
    difference = family.difference(i, k)
    present = min(family.specs[i].count, family.specs[k].count)
    enough = size is not None or difference.is_significant
    return needs_of(difference, future_seeds(family, i, k), size, 0 if enough else present)


def needs_of(difference: Difference, future: Future | None, size: float | None, present: int) -> Needs:
    """What would show a difference, or contrast, of `size`, or of the one seen.

    `present` is the number of seeds that is known not to be enough, 0 if none is.
    """
    wanted = abs(difference.value if size is None else size)
    seeds, images = _seeds_needed(difference, future, wanted), _images_needed(difference, wanted)
    if present:
        seeds = seeds and seeds.above(present + 1)
        images = images and images.above(1.01)
    return Needs(wanted, seeds, images)


def in_words(family: Family, i: int, k: int, size: float | None = None) -> str:
    """A sentence for a pair whose difference is not significant.

    Such as `a difference of 0.21 would have been shown (80 % power); 6 to 11 seeds a side, or 3 to 5 times
    the images, would show the 0.12 seen`.
    """
    goal = "the {} seen" if size is None else "one of {}"
    return sentence(family.difference(i, k), needs(family, i, k, size), goal)


def sentence(difference: Difference, needed: Needs, goal: str, what: str = "difference") -> str:
    """The sentence of `in_words` for what `needs_of` found.

    `goal` says what is to be shown, with {} in place of its size, and `what` is the word for a contrast.
    """
    shown = smallest_shown(difference)
    networks = difference.level == "networks"
    about = " between these two trained networks" if networks else ""
    first = (
        f"nothing is known about the noise of this {what}"
        if shown is None
        else f"a {what} of {number(shown)}{about} would have been shown (80 % power)"
    )
    each = "a side" if what == "difference" else "of each spec"
    seeds, images = f"{needed.seeds} seeds {each}", f"{needed.images} times the images"
    goal = goal.format(number(needed.size))
    if networks:
        ways = [f"{images} would show {goal} between these networks"] if needed.images is not None else []
        ways += [f"{seeds} would show one of their specs"] if needed.seeds is not None else []
    elif needed.seeds is not None and needed.images is not None:
        ways = [f"{seeds}, or {images}, would show {goal}"]
    elif needed.seeds is not None or needed.images is not None:
        ways = [f"{images if needed.seeds is None else seeds} would show {goal}"]
    else:
        ways = [f"neither more seeds nor more images alone would show {goal}"]
    return "; ".join([first, *ways])


def _shown(images: Part | None, seeds: Part | None) -> float:
    """The difference that two independent noises let through with the probability POWER.

    The interval's half-width H varies with the estimated variances, and the difference with the true ones:
    P(δ + SE·Z > H) = 0.8, averaged over quantiles of χ²/ν. With one part this is the noncentral t.
    """
    parts = [part for part in (images, seeds) if part is not None and part.sd > 0]
    if not parts:
        return 0.0
    points = POINTS if len(parts) == 1 else round(math.sqrt(POINTS))
    squares: FloatArray = np.zeros(1)
    for part in parts:
        squares = np.add.outer(squares, part.half**2 * _chi_squares(part.degrees_of_freedom, points)).ravel()
    halves, error = np.sqrt(squares), math.hypot(*(part.sd for part in parts))
    low, high = 0.0, float(halves.max()) + 3 * error
    for _ in range(25):
        middle = (low + high) / 2
        power = float(ndtr((middle - halves) / error).mean())
        low, high = (middle, high) if power < POWER else (low, middle)
    return high


def _chi_squares(freedom: float, points: int) -> FloatArray:
    """Quantiles of χ²/ν at the middles of `points` equal probabilities."""
    if math.isinf(freedom):
        return np.ones(1)
    return np.asarray(chdtri(freedom, (np.arange(points) + 0.5) / points) / freedom)


def _times(part: Part, variance: float) -> Part:
    """The noise with its variance multiplied."""
    return replace(part, sd=part.sd * math.sqrt(variance))


def _variance_interval(freedom: float) -> tuple[float, float]:
    """The factors of a variance's 95 % interval: ν/χ² at its 97.5 % and 2.5 % quantiles."""
    if math.isinf(freedom):
        return 1.0, 1.0
    return freedom / float(chdtri(freedom, 0.025)), freedom / float(chdtri(freedom, 0.975))


def _seeds_needed(difference: Difference, future: Future | None, size: float) -> Range | None:
    images = difference.images
    if future is None or _shown(images, None) > size:
        return None

    def fewest(factor: float) -> float:
        return _first(lambda n: _shown(images, _times(future.part(n), factor)) <= size)

    low, high = _variance_interval(future.degrees_of_freedom)
    return Range(fewest(low), fewest(high))


def _first(enough: Callable[[int], bool]) -> float:
    """The smallest n from 2 to MOST that is enough, as all larger ones are; infinite where there is none."""
    low, high = 1, MOST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= MOST else math.inf


def _images_needed(difference: Difference, size: float) -> Range | None:
    images, seeds = difference.images, difference.seeds
    if images is None or (difference.level == "specs" and _shown(None, seeds) > size):
        return None

    def fewest(factor: float) -> float:
        low, high = 0.0, math.log(MOST)
        if _shown(_times(images, factor / MOST), seeds) > size:
            return math.inf
        for _ in range(10):
            middle = (low + high) / 2
            enough = _shown(_times(images, factor * math.exp(-middle)), seeds) <= size
            low, high = (low, middle) if enough else (middle, high)
        return math.exp(high)

    low, high = _variance_interval(images.degrees_of_freedom)
    return Range(fewest(low), fewest(high))
