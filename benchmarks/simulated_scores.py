"""Simulated scores of equal specs, and the rule of `ddpmx.theory.differences` on many repetitions at once.

`tests/theory/test_simulation.py` checks that the vectorised rule is the one that `Family` applies to data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ddpmx.theory.estimate import student_t
from ddpmx.theory.largest_t import Configuration, bartlett, images_critical, seeds_critical
from ddpmx.theory.scores import Draws, FloatArray, SpecScores
from ddpmx.theory.seeds_part import WIDEST_RELATIVE, octaves, pairing_pays
from ddpmx.theory.spread import Spread, spread
from ddpmx.theory.welch import EXTRA, inverse_squares

ALPHA = 0.05


@dataclass(frozen=True)
class Cell:
    """One situation: specs that differ in nothing but, at most, their spreads."""

    counts: tuple[int, ...]
    """The number of seeds of each spec."""
    spreads: tuple[float, ...]
    """The standard deviation over seeds of each."""
    correlation: float = 0.5
    """Of the images' noise of two specs."""
    images: float = 1.0
    """Standard deviation of the images' noise of a score."""
    shared: bool = True
    """Whether all seeds of a spec have the same images' noise."""
    common: float = 0.0
    """The share of the seeds' variance that a seed has in common in all specs."""
    tails: str = "normal"
    """Of the seeds' noise: normal, t3 (Student's, 3 degrees of freedom) or lognormal."""
    means: tuple[float, ...] = ()
    """The true scores, 30 each unless given; spreads and images' noise are in proportion to them."""
    halves: int = 20
    """Random halves that the images' noise is estimated from."""

    @property
    def scales(self) -> FloatArray:
        """The units [G] of the noise of each spec."""
        return np.array(self.means) / 30 if self.means else np.ones(len(self.counts))

    @property
    def truth(self) -> FloatArray:
        """The true scores [G]."""
        return 30 * self.scales


@dataclass(frozen=True)
class Simulated:
    """The data of many repetitions of one cell."""

    scores: FloatArray
    """[N, G, largest number of seeds]; NaN where a spec has fewer."""
    factor: FloatArray
    """[N, G, K]: the estimated covariance of the images' noise of mean scores is its product with itself."""
    trained: FloatArray
    """[N, G]: the mean score that the trained networks would have on infinitely many images."""


def simulate(cell: Cell, repetitions: int, generator: np.random.Generator) -> Simulated:
    """Scores μ + seed's noise + images' noise, and draws that estimate the latter's covariance."""
    specs, most = len(cell.counts), max(cell.counts)
    seeds = _seed_noise(cell, (repetitions, specs, most), generator)
    columns = 1 if cell.shared else most
    own = generator.normal(size=(repetitions, specs, columns))
    other = generator.normal(size=(repetitions, 1, columns))
    images = math.sqrt(1 - cell.correlation) * own + math.sqrt(cell.correlation) * other
    units = cell.scales[:, None]
    trained = cell.truth[:, None] + units * seeds
    scores = trained + units * cell.images * images
    counts = np.array(cell.counts)
    scores[:, np.arange(most) >= counts[:, None]] = np.nan
    covariance = (1 - cell.correlation) * np.eye(specs) + cell.correlation
    root = np.linalg.cholesky(covariance) * (cell.images * units)
    if not cell.shared:
        root /= np.sqrt(counts)[:, None]
    factor = root @ bartlett(generator, repetitions, specs, cell.halves - 1) / math.sqrt(cell.halves - 1)
    trained = np.where(np.isnan(scores), np.nan, trained)
    return Simulated(scores, factor, np.nanmean(trained, axis=2))


def _seed_noise(cell: Cell, shape: tuple[int, int, int], generator: np.random.Generator) -> FloatArray:
    spreads = np.array(cell.spreads)[:, None]
    if cell.tails == "t3":
        noise = generator.standard_t(3, size=shape) / math.sqrt(3)
    else:
        noise = generator.normal(size=shape)
    if cell.common:
        both = generator.normal(size=(shape[0], 1, shape[2]))
        noise = math.sqrt(1 - cell.common) * noise + math.sqrt(cell.common) * both
    if cell.tails == "lognormal":
        log_sd = np.sqrt(np.log1p((spreads / 30) ** 2))
        return np.asarray(30 * np.expm1(log_sd * noise - log_sd**2 / 2))
    return np.asarray(spreads * noise)


def scores_of(cell: Cell, data: Simulated, repetition: int) -> list[SpecScores]:
    """One repetition as the data that `Family` takes, with draws of the same covariance."""
    halves, factor = cell.halves, data.factor[repetition]
    basis, _ = np.linalg.qr(np.column_stack([np.ones(halves), np.eye(halves)[:, : factor.shape[1]]]))
    draws = factor @ basis[:, 1:].T * math.sqrt(halves - 1)
    return [
        SpecScores(tuple(range(count)), tuple(scores[:count]), Draws("halves", row[None]))
        for count, scores, row in zip(cell.counts, data.scores[repetition], draws, strict=True)
    ]


@dataclass(frozen=True)
class Compared:
    """What a rule makes of all repetitions; the columns are the pairs (i, k), i < k."""

    errors: FloatArray
    """[N, P]: the difference of the means less the true one."""
    halves: FloatArray
    """[N, P]: half the width of its interval."""
    of_specs: NDArray[np.bool_]
    """bool [P]: whether it is about specs."""

    @property
    def coverage(self) -> float:
        """The share of repetitions in which all intervals contain the true differences."""
        return float((np.abs(self.errors) <= self.halves).all(axis=1).mean())

    @property
    def no_false_winner(self) -> float:
        """The share of repetitions in which it is not the case that all specs but one are beaten."""
        pairs = _pairs(round((1 + math.sqrt(1 + 8 * len(self.of_specs))) / 2))
        beaten = np.zeros((len(self.errors), pairs.max() + 1), dtype=bool)
        for column, (i, k) in enumerate(pairs.T):
            if self.of_specs[column]:
                beaten[:, i] |= self.errors[:, column] > self.halves[:, column]
                beaten[:, k] |= self.errors[:, column] < -self.halves[:, column]
        return float(((~beaten).sum(axis=1) != 1).mean())


def _pairs(specs: int) -> NDArray[np.int_]:
    return np.array(list(combinations(range(specs), 2))).T


def _errors(cell: Cell, data: Simulated, of_specs: NDArray[np.bool_]) -> FloatArray:
    """The differences less those of the specs, or of the trained networks where a side has one seed."""
    i, k = _pairs(len(cell.counts))
    means = np.nanmean(data.scores, axis=2)
    errors = [means - truth for truth in (data.trained, cell.truth)]
    networks, specs = (error[:, i] - error[:, k] for error in errors)
    return np.where(of_specs, specs, networks)


def compared(cell: Cell, data: Simulated) -> Compared:
    """The rule of `ddpmx.theory.differences`, all specs being stable."""
    i, k = _pairs(len(cell.counts))
    counts = np.array(cell.counts)
    of_specs = np.minimum(counts[i], counts[k]) > 1
    singles, share = int((counts == 1).sum()), float(of_specs.mean())
    covariance = data.factor @ data.factor.swapaxes(1, 2)
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    images = np.maximum(variances[:, i] + variances[:, k] - 2 * covariance[:, i, k], 0)
    freedom = float(cell.halves - 1)
    squares = np.zeros_like(images)
    if share < 1:
        critical = images_critical(len(counts), singles if share else 0, freedom, ALPHA * (1 - share))
        squares[:, ~of_specs] = critical**2 * images[:, ~of_specs]
    if share:
        critical = images_critical(len(counts) - singles, 0, freedom, ALPHA * share)
        squares[:, of_specs] = critical**2 * images[:, of_specs] + _seeds(cell, data, share)
    return Compared(_errors(cell, data, of_specs), np.sqrt(squares), of_specs)


def _seeds(cell: Cell, data: Simulated, share: float) -> FloatArray:
    """(c·SE)² [N, P] of the seeds' part of the pairs of specs with several seeds."""
    counts = np.array(cell.counts)
    members = np.flatnonzero(counts > 1)
    scores, pairs = data.scores[:, members], len(cell.counts) * (len(cell.counts) - 1) / 2
    positive = np.nanmin(scores, axis=(1, 2)) > 0
    logs = _spread(np.log(np.where(positive[:, None, None], scores, 1.0)), counts[members] - 1.0, False)
    positive &= logs.pooled <= WIDEST_RELATIVE**2
    means = np.where(positive[:, None], np.nanmean(scores, axis=2), 1.0)
    units = np.array([octaves(tuple(row)) for row in means])
    kinds, which = np.unique(np.column_stack([positive, units]), axis=0, return_inverse=True)
    squares = np.empty((len(scores), len(members) * (len(members) - 1) // 2))
    for index, (relative, *of_kind) in enumerate(kinds):
        rows = which.ravel() == index
        squares[rows] = _seeds_of_kind(
            scores[rows],
            counts[members],
            (bool(relative), tuple(int(unit) for unit in of_kind)),
            share,
            pairs,
        )
    return squares


def _seeds_of_kind(
    scores: FloatArray,
    counts: NDArray[np.int_],
    kind: tuple[bool, tuple[int, ...]],
    share: float,
    pairs: float,
) -> FloatArray:
    """The same of repetitions whose spreads are all relative to the scores, or not, in the same units."""
    relative, units = kind
    pairs_seeds = len(set(counts)) == 1 and not any(units) and pairing_pays(len(counts), int(counts[0]))
    found = _spread(np.log(scores) if relative else scores, counts - 1.0, pairs_seeds)
    squared_errors = found.variances / counts * (np.nanmean(scores, axis=2) ** 2 if relative else 1.0)
    i, k = _pairs(len(counts))
    configuration = Configuration(tuple(int(count) - 1 for count in counts), units, pairs_seeds)
    critical = seeds_critical(configuration, ALPHA * share)[i, k]
    a, b = squared_errors[:, i], squared_errors[:, k]
    weighted = squared_errors**2 / (counts - 1.0 + EXTRA)
    squares = critical**2 * (a + b) / inverse_squares(a + b, weighted[:, i], weighted[:, k])
    out = ~(found.in_line[:, i] & found.in_line[:, k])
    own = np.nanvar(scores, axis=2, ddof=1) / counts
    alone = _welch(own[:, i], own[:, k], (counts - 1)[i], (counts - 1)[k])
    squares[out] = stdtrit(alone[out], 1 - ALPHA / pairs / 2) ** 2 * (own[:, i] + own[:, k])[out]
    return np.asarray(squares)


def _welch(a: FloatArray, b: FloatArray, freedom_a: FloatArray, freedom_b: FloatArray) -> FloatArray:
    return np.asarray((a + b) ** 2 / (a**2 / freedom_a + b**2 / freedom_b))


def _spread(scores: FloatArray, freedom: FloatArray, pairs_seeds: bool) -> Spread:
    deviations = np.nan_to_num(scores - np.nanmean(scores, axis=2, keepdims=True))
    return spread(deviations, freedom, pairs_seeds)


def compared_before(cell: Cell, data: Simulated) -> Compared:
    """The earlier rule: `Estimate.minus` for each pair with Bonferroni's level for G − 1 differences."""
    specs = len(cell.counts)
    i, k = _pairs(specs)
    counts = np.array(cell.counts)
    own = np.square(data.factor).sum(axis=2) * (student_t(cell.halves - 1) / student_t(math.inf)) ** 2
    if not cell.shared:
        own = own * counts  # the interval is that of a single score
    freedom = np.where(counts > 1, counts - 1.0, np.inf)
    seeds = np.where(counts > 1, np.nan_to_num(np.nanvar(data.scores, axis=2, ddof=1)), 0) / counts
    total, estimated = (seeds + own)[:, i] + (seeds + own)[:, k], seeds[:, i] + seeds[:, k]
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = seeds[:, i] ** 2 / freedom[i] + seeds[:, k] ** 2 / freedom[k]
        level = 1 - 0.05 / max(1, specs - 1) / 2
        quantile = {
            name: stdtrit(np.where(weighted > 0, part**2 / weighted, 1e12), level)
            for name, part in (("all", total), ("seeds", estimated))
        }
    halves = np.maximum(quantile["all"] * np.sqrt(total), quantile["seeds"] * np.sqrt(estimated))
    of_specs = np.minimum(counts[i], counts[k]) > 1
    return Compared(_errors(cell, data, of_specs), halves, of_specs)
