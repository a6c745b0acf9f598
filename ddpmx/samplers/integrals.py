"""The weights with which multistep methods sum past values: integrals of the polynomial through them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def lagrange(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """∫ L_j for each node, L_j being the polynomial that is 1 at node j and 0 at the others; moments[k] = ∫ v^k.

    Summed with values at the nodes, that is the integral of the polynomial through them.
    """
    weights = []
    for j, node in enumerate(nodes):
        polynomial, scale = [1.0], 1.0  # from the constant up
        for other in (*nodes[:j], *nodes[j + 1 :]):
            polynomial = [
                up - other * same for up, same in zip([0.0, *polynomial], [*polynomial, 0.0], strict=True)
            ]
            scale *= node - other
        weights.append(sum(c * m for c, m in zip(polynomial, moments, strict=False)) / scale)
    return weights


def exponential_moments(z: float, count: int) -> list[float]:
    """z·∫ e^(−z·(1−v))·v^k dv over v from 0 to 1, which is z·k!·φ_(k+1)(−z), for k = 0 … count − 1."""
    if abs(z) < 1:  # the recursion below would cancel
        return [
            z * sum((-z) ** j * math.factorial(k) / math.factorial(k + j + 1) for j in range(20))
            for k in range(count)
        ]
    moments = [-math.expm1(-z)]
    for k in range(1, count):
        moments.append(1 - k / z * moments[-1])
    return moments
