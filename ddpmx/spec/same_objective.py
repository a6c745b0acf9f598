"""Deciding whether two specs have the same training objective under different names."""

from __future__ import annotations

import numpy as np

from ..theory.effective import Floats, effective_weight
from .schema import Spec

TOLERANCE = 1e-3
"""Relative difference below which two curves are the same."""


def same_objective(a: Spec, b: Spec) -> float | None:
    """The factor c for which b's objective is c times a's; None if the objectives differ.

    They are the same if both use the norm l2, neither learns a weighting or a variance, and the ratio of
    their effective weights is constant, within 0.1 %, over the same range of log-SNR. Only the losses are
    compared: the specs may have different data and networks.
    """
    if any(
        spec.loss.norm != "l2" or spec.loss.weighting.module() is not None or spec.model.learns_variance
        for spec in (a, b)
    ):
        return None
    if a.model.self_conditioned != b.model.self_conditioned:
        return None
    (x_a, weight_a), (x_b, weight_b) = (_curve(spec) for spec in (a, b))
    if min(len(x_a), len(x_b)) < 2:
        return None
    if not np.allclose(x_a[[0, -1]], x_b[[0, -1]], rtol=TOLERANCE, atol=TOLERANCE):
        return None
    if len(x_a) != len(x_b) or not np.allclose(x_a, x_b):
        weight_b = np.interp(x_a, x_b, weight_b)
    positive = weight_a > 0
    if not positive.any() or (positive != (weight_b > 0)).any():
        return None
    ratio = weight_b[positive] / weight_a[positive]
    return float(np.median(ratio)) if ratio.max() <= ratio.min() * (1 + TOLERANCE) else None


def _curve(spec: Spec) -> tuple[Floats, Floats]:
    """Ascending log-SNRs and the effective weight at each, without infinite values; both [n]."""
    x, weight = effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )
    finite = np.isfinite(x) & np.isfinite(weight)
    return x[finite][::-1], weight[finite][::-1]
