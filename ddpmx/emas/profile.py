"""Profiles of power-function averages, and combinations of them that have another width.

In such an average at step t with exponent γ, the weights of step τ count with the density
p(τ) = (γ + 1)·τ^γ/t^(γ+1) for 0 ≤ τ ≤ t, its profile. Its standard deviation, relative to t, is σ_rel, the
width. The sum of stored averages whose profiles sum up to nearly the profile of another width is nearly the
average of that width. Karras et al. 2024, arXiv:2312.02696, section 3 and appendix C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WIDEST = 12**-0.5
"""The width at γ = 0, where all steps count alike."""
NARROWEST = 0.001
"""The smallest width that is accepted."""
CUTOFF = 1e-8
"""Combinations do not use directions in which stored profiles differ by less than the root of this: the
rounding of the averages would be multiplied by its reciprocal."""
MOST_ERROR = 0.05
"""Largest error of a combination that may stand for an average."""
SEARCHED = 400
"""Widths at which the error is computed to find the supported ones."""


def width(exponent: float) -> float:
    """σ_rel of the exponent γ: √(γ + 1)/((γ + 2)·√(γ + 3))."""
    return float((exponent + 1) ** 0.5 / ((exponent + 2) * (exponent + 3) ** 0.5))


@lru_cache
def exponent(std: float) -> float:
    """The γ ≥ 0 of the width σ_rel = `std`, which is between 0 and WIDEST: the inverse of `width`."""
    # σ²·(γ + 2)²·(γ + 3) = γ + 1 is γ³ + 7γ² + (16 − σ⁻²)·γ + 12 − σ⁻² = 0, with one root above 0
    return max(0.0, float(np.roots([1, 7, 16 - std**-2, 12 - std**-2]).real.max()))


def inner(t_a: Floats, gamma_a: Floats, t_b: Floats, gamma_b: Floats) -> Floats:
    """∫ p_a(τ)·p_b(τ) dτ of two profiles, elementwise: their steps `t` and exponents `gamma` broadcast."""
    # (γ_a + 1)(γ_b + 1)/(t_a^(γ_a+1)·t_b^(γ_b+1)) times the integral of τ^(γ_a+γ_b) up to the earlier step;
    # all powers together are (earlier/later)^γ/later with the later one's γ
    earlier, later = np.minimum(t_a, t_b), np.maximum(t_a, t_b)
    gamma = np.where(t_a < t_b, gamma_b, gamma_a)
    factor = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return np.asarray(factor * (earlier / later) ** gamma / later)


def in_words(ranges: Sequence[tuple[float, float]]) -> str:
    """Ranges of widths as text, rounded inwards: `0.0183 to 0.2592`. Ranges that vanish are left out."""
    rounded = [
        (math.ceil(round(low * 1e4, 6)) / 1e4, math.floor(round(high * 1e4, 6)) / 1e4) for low, high in ranges
    ]
    return " and ".join(f"{low:g} to {high:g}" for low, high in rounded if low <= high)


@dataclass(frozen=True)
class Combination:
    """A weighted sum of stored averages."""

    weights: Floats
    """The weight of each, float64 [n]; they sum to 1, so that a parameter that never changed is unchanged."""
    error: float
    """L2 norm of the difference between its profile and the wanted one, relative to that one's norm."""


@dataclass(frozen=True)
class Profiles:
    """The profiles of n stored averages."""

    steps: Sequence[int]
    """The step t of each, from 1."""
    exponents: Sequence[float]
    """The exponent γ of each."""

    @property
    def end(self) -> int:
        """The last step, that of the wanted averages."""
        return max(self.steps)

    def combination(self, std: float) -> Combination:
        """The combination whose profile is nearest to that of width `std` at the last step.

        Least squares, under the condition that the weights sum to 1.
        """
        t, gamma = self._times_and_exponents
        wanted = np.array(exponent(std))
        products = inner(t, gamma, np.array(1.0), wanted)  # [n]
        norm = float(inner(np.array(1.0), wanted, np.array(1.0), wanted))
        scaled = (self._inverse @ np.append(products / self._norms, 1.0))[:-1]
        weights = scaled / self._norms
        # ‖Σ w_i·p_i − p‖² = wᵀAw − 2wᵀb + ‖p‖²
        square = weights @ self._gram @ weights - 2 * weights @ products + norm
        return Combination(weights, float(np.sqrt(max(square, 0.0) / norm)))

    def supported(self, most: float = MOST_ERROR) -> list[tuple[float, float]]:
        """The ranges of widths whose combinations have an error of at most `most`, ascending."""
        own = [
            width(gamma) for step, gamma in zip(self.steps, self.exponents, strict=True) if step == self.end
        ]
        stds = sorted({*np.geomspace(NARROWEST, WIDEST * (1 - 1e-9), SEARCHED).tolist(), *own})
        ranges: list[tuple[float, float]] = []
        before, inside = stds[0], False
        for std in stds:
            fits = self.combination(std).error <= most
            if fits and not inside:
                ranges.append((self._edge(before, std, most), std))
            elif fits:
                ranges[-1] = (ranges[-1][0], std)
            elif inside:
                ranges[-1] = (ranges[-1][0], self._edge(std, before, most))
            before, inside = std, fits
        return ranges

    def _edge(self, outside: float, inside: float, most: float) -> float:
        """The supported width nearest to `outside`, by bisection."""
        for _ in range(30):
            middle = (outside + inside) / 2
            if self.combination(middle).error <= most:
                inside = middle
            else:
                outside = middle
        return inside

    @cached_property
    def _times_and_exponents(self) -> tuple[Floats, Floats]:
        """Steps relative to the last one, and exponents: both [n]."""
        return np.array(self.steps, dtype=np.float64) / self.end, np.array(self.exponents, dtype=np.float64)

    @cached_property
    def _gram(self) -> Floats:
        """The inner products of all profiles, [n, n]."""
        t, gamma = self._times_and_exponents
        return inner(t[:, None], gamma[:, None], t, gamma)

    @cached_property
    def _norms(self) -> Floats:
        """The norms of the profiles, [n]."""
        return np.sqrt(np.diag(self._gram))

    @cached_property
    def _inverse(self) -> Floats:
        """The inverse of the equations for scaled weights and the condition's multiplier, [n + 1, n + 1]."""
        sums = 1 / self._norms
        gram = self._gram / np.outer(self._norms, self._norms)
        matrix = np.block([[gram, sums[:, None]], [sums[None], np.zeros((1, 1))]])
        return np.linalg.pinv(matrix, rcond=CUTOFF, hermitian=True)
