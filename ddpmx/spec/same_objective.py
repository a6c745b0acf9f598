"""Whether two specs train one objective, whatever their predictions, schedules and weightings are called."""

from __future__ import annotations

import numpy as np

from ..theory.effective import Floats, effective_weight
from .schema import Spec

SAME = 1e-3  # relative difference of two curves that are one


def same_objective(a: Spec, b: Spec) -> float | None:
    """The factor c with which b's objective is c times a's; None where they are different objectives.

    They are the same where both have the norm l2, learn nothing else, and their effective weights are in one
    ratio, within 0.1 %, at all log-SNRs of the same range. Specs whose data or networks differ are not told
    apart: this is about the loss only.
    """
    if any(
        spec.loss.norm != "l2" or spec.loss.weighting.module() is not None or spec.model.learns_variance
        for spec in (a, b)
    ):
        return None
    if a.model.self_conditioned != b.model.self_conditioned:
        return None
    (x, left), (x_other, right) = (_curve(spec) for spec in (a, b))
    if min(len(x), len(x_other)) < 2 or not np.allclose(x[[0, -1]], x_other[[0, -1]], rtol=SAME, atol=SAME):
        return None
    right = right if len(x) == len(x_other) and np.allclose(x, x_other) else np.interp(x, x_other, right)
    counts = left > 0
    if not counts.any() or (counts != (right > 0)).any():
        return None
    ratio = right[counts] / left[counts]
    return float(np.median(ratio)) if ratio.max() <= ratio.min() * (1 + SAME) else None


def _curve(spec: Spec) -> tuple[Floats, Floats]:
    """Ascending log-SNRs and the effective weight there, without those that are infinite."""
    x, weight = effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )
    inside = np.isfinite(x) & np.isfinite(weight)
    return x[inside][::-1], weight[inside][::-1]
