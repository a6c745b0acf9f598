"""Student's quantile at the degrees of freedom of two variances, for arrays of millions of pairs."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial
from scipy.special import stdtrit

from .scores import FloatArray

LEVEL = 0.01
"""Two-sided; critical values are in proportion to the quantile at this level."""
EXTRA = 1.0
"""Degrees of freedom that a variance moved towards the pooled one has beyond its own."""


def _fit() -> tuple[float, ...]:
    """The coefficients of 1/t² as a polynomial in 1/ν, lowest first; t is within 0.01 % for ν ≥ 1 + EXTRA."""
    inverse = np.linspace(1e-6, 1 / (1 + EXTRA), 500)
    fit = Polynomial.fit(inverse, stdtrit(1 / inverse, 1 - LEVEL / 2) ** -2.0, 5)
    return tuple(float(each) for each in fit.convert().coef)


_COEFFICIENTS = _fit()


def welch_quantile(a: float, b: float, freedom_a: float, freedom_b: float) -> float:
    """The quantile for a sum of two variances, each of a spec with `freedom` + 1 seeds.

    Where one of them dominates, it counts with its own degrees of freedom, and where they are equal, with
    those of both (Satterthwaite 1946, Welch 1947).
    """
    weighted = [np.array(v * v / (freedom + EXTRA)) for v, freedom in ((a, freedom_a), (b, freedom_b))]
    return float(1 / np.sqrt(inverse_squares(np.array(a + b), *weighted)))


def inverse_squares(total: FloatArray, weighted_a: FloatArray, weighted_b: FloatArray) -> FloatArray:
    """1/`welch_quantile`² from the total of two variances and v²/(freedom + EXTRA) of each, broadcast."""
    # 1/ν = Σ(v²/ν) / (Σv)²
    inverse = (weighted_a + weighted_b) / np.where(total > 0, total * total, 1.0)
    result = np.full_like(inverse, _COEFFICIENTS[-1])
    for coefficient in _COEFFICIENTS[-2::-1]:
        result *= inverse
        result += coefficient
    return result
