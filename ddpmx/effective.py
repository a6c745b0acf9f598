"""What an objective is, whatever it is written in: the weight of the x_0 error over log-SNR."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .predictions import Prediction, as_prediction
from .schedules import Table
from .spec import Spec
from .times import Time
from .weightings import Weighting

Floats = npt.NDArray[np.float64]
SAME = 1e-3  # relative difference of two curves that are one


def effective_weight(
    table: Table, weighting: Weighting, prediction: str | Prediction, norm: str = "l2", time: Time | None = None
) -> tuple[Floats, Floats]:
    """(log_snr, weight): what the objective is in terms of the x_0 error, ∫ weight·norm(x_0 error) d log_snr, float64 [T] each.

    The loss averages w_t·norm(output error) over the timesteps that `time` draws (None: uniform). The output error is the
    x_0 error divided by x0_from_output, and a step of the table covers some width of log-SNR, so with l2 (huber: small errors)
    weight = w_t / x0_from_output² · p(t) / |d log_snr/dt|; with l1 |x0_from_output| is not squared. Two specs with the same curve
    are one objective, whatever their predictions, schedules and times. See Kingma & Gao 2023, arXiv:2303.00848.
    NaN where the log-SNR is infinite.
    """
    log_snr = table.log_snr.numpy()
    _, x0_from_output = as_prediction(prediction).x0_from(table.signal, table.sigma)
    inside = np.isfinite(log_snr)
    width = np.full(log_snr.shape, np.nan)
    if inside.sum() > 1:
        width[inside] = -np.gradient(log_snr[inside])
    with np.errstate(divide="ignore", invalid="ignore"):
        on_x_start = weighting.weights(table, prediction).numpy() / np.abs(x0_from_output.numpy()) ** (1 if norm == "l1" else 2)
        return log_snr, on_x_start * _drawn(table, time) / width


def _drawn(table: Table, time: Time | None) -> Floats:
    """p(t), float64 [T]: how often training draws each index, and how much the loss there counts for it."""
    if time is None:
        return np.full(table.timesteps, 1 / table.timesteps)
    drawn: Floats = (time.probabilities(table) * time.importance(table)).numpy()
    return drawn


def same_objective(a: Spec, b: Spec) -> float | None:
    """The factor c with which b's objective is c times a's; None where they are different objectives.

    They are the same where both have the norm l2, learn nothing else, and their effective weights are in one ratio, within
    0.1 %, at all log-SNRs of the same range. Specs whose data or networks differ are not told apart: this is about the loss only.
    """
    if any(spec.loss.norm != "l2" or spec.loss.weighting.module() is not None or spec.model.learns_variance for spec in (a, b)):
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
    x, weight = effective_weight(spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time)
    inside = np.isfinite(x) & np.isfinite(weight)
    return x[inside][::-1], weight[inside][::-1]
