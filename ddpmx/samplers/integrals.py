"""Weights of the past values in multistep methods: integrals of the polynomial through these values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def lagrange(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """∫ L_j for each node j, where L_j is the polynomial that is 1 at node j and 0 at the others.

    moments[k] = ∫ v^k. The sum of these weights times values at the nodes is the integral of the polynomial
    through the values.
    """
    weights = []
    for j, node in enumerate(nodes):
        # L_j(v) = Π_{i ≠ j} (v − node_i)/(node_j − node_i); its coefficients start with the constant
        polynomial, scale = [1.0], 1.0
        for other in (*nodes[:j], *nodes[j + 1 :]):
            polynomial = [
                lower - other * coefficient
                for lower, coefficient in zip([0.0, *polynomial], [*polynomial, 0.0], strict=True)
            ]
            scale *= node - other
        weights.append(sum(c * m for c, m in zip(polynomial, moments, strict=False)) / scale)
    return weights


def exponential_moments(z: float, count: int) -> list[float]:
    """z·∫ e^(−z·(1−v))·v^k dv over v in 0 … 1, for k = 0 … count − 1, which is z·k!·φ_(k+1)(−z)."""
    if abs(z) < 1:  # a series, because the recursion below loses digits here
        return [
            z * sum((-z) ** j * math.factorial(k) / math.factorial(k + j + 1) for j in range(20))
            for k in range(count)
        ]
    # I_0 = 1 − e^(−z), I_k = 1 − k/z·I_{k−1}
    moments = [-math.expm1(-z)]
    for k in range(1, count):
        moments.append(1 - k / z * moments[-1])
    return moments
