"""What an objective is, whatever it is written in: the weight of the x_0 error over log-SNR."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..predictions import Prediction, as_prediction
from ..schedules import Table
from ..times import Time
from ..weightings import Weighting

Floats = npt.NDArray[np.float64]


def effective_weight(
    table: Table,
    weighting: Weighting,
    prediction: str | Prediction,
    norm: str = "l2",
    time: Time | None = None,
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
        on_x_start = weighting.weights(table, prediction).numpy() / np.abs(x0_from_output.numpy()) ** (
            1 if norm == "l1" else 2
        )
        return log_snr, on_x_start * _drawn(table, time) / width


def _drawn(table: Table, time: Time | None) -> Floats:
    """p(t), float64 [T]: how often training draws each index, and how much the loss there counts for it."""
    if time is None:
        return np.full(table.timesteps, 1 / table.timesteps)
    drawn: Floats = (time.probabilities(table) * time.importance(table)).numpy()
    return drawn
