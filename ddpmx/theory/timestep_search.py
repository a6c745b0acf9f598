"""The best timesteps for few steps of ancestral sampling, by dynamic programming over the variational bound.

Watson et al. 2021, arXiv:2106.03802. The bound of a chain is a sum of a term for each step from t to s, and a
term for the decoder. With a variance that is a function of t and s, a step's term depends on the network only
through its mean square error of x_0 at t, so one error for each t gives the terms of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The steps between all pairs of K indices in order of their noise: [K, K] each, for t (row) and s.

    Only entries with s < t have a meaning; the others are NaN.
    """

    posterior: Floats
    """The posterior's variance sigma_s²·(1 − q), with q = SNR_t/SNR_s."""
    upper: Floats
    """The variance `beta`, sigma_t²·(1 − q)."""
    c_x0: Floats
    """Coefficient of x_0 in the mean, signal_s·(1 − q)."""

    @classmethod
    def of(cls, signal: Floats, sigma: Floats) -> Pairs:
        """The pairs of indices with these signal and sigma, [K] each; sigma has to be positive."""
        ratio = signal / sigma
        q = np.square(ratio[:, None] / ratio[None, :])
        below = np.tri(len(signal), k=-1, dtype=bool)
        rest = np.where(below, 1 - np.where(below, q, 0), np.nan)
        return cls(sigma**2 * rest, np.square(sigma)[:, None] * rest, signal * rest)

    def analytic(self, x0_variance: Floats) -> Floats:
        """The best variance where E Var(x_0 | x_t) is `x0_variance`, [K]."""
        variance: Floats = self.posterior + np.square(self.c_x0) * x0_variance[:, None]
        return variance

    def bits(self, variance: Floats, error: Floats) -> Floats:
        """KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)) in bits per dimension, [K, K].

        `variance` is that of p, [K, K], and `error` the mean square error of x_0 at each t, [K].
        """
        ratio = self.posterior / variance
        nats = 0.5 * (ratio - 1 - np.log(ratio) + np.square(self.c_x0) * error[:, None] / variance)
        bits: Floats = nats / np.log(2)
        return bits


@dataclass(frozen=True)
class Chain:
    """The best chain with a number of indices."""

    positions: tuple[int, ...]
    """Positions of its indices among the K, in descending order; the first is K − 1."""
    bits: float
    """Sum of the terms of its steps and its decoder, in bits per dimension."""


def best_chains(steps: Floats, decoder: Floats, most: int) -> dict[int, Chain]:
    """The chains from index K − 1 with the least sum of terms, by their number of indices, 2 … `most`.

    `steps` [K, K] has the term of the step from t to s, and `decoder` [K, K] that of the decoder at s if the
    step before comes from t. Entries with s ≥ t are not read. A chain has at most K indices.
    """
    count = len(steps)
    allowed = np.tri(count, k=-1, dtype=bool)
    steps = np.where(allowed, steps, np.inf)
    # least[t]: the least sum from t on, with as many indices as the round says
    table = steps + np.where(allowed, decoder, np.inf)
    choices: list[NDArray[np.int64]] = []
    found: dict[int, Chain] = {}
    for indices in range(2, most + 1):
        choice = table.argmin(1)
        least = table[np.arange(count), choice]
        choices.append(choice)
        if np.isfinite(least[-1]):
            found[indices] = Chain(_positions(choices), float(least[-1]))
        table = steps + least
    return found


def _positions(choices: list[NDArray[np.int64]]) -> tuple[int, ...]:
    """The positions that lead from the last one, by the choice of the next one in each round."""
    positions = [len(choices[0]) - 1]
    for choice in reversed(choices):
        positions.append(int(choice[positions[-1]]))
    return tuple(positions)
