"""The effective weight: an objective as the weight of the x_0 error over log-SNR."""

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
    """(log_snr, weight), float64 [T] each, such that the objective is ∫ weight·norm(x_0 error) d log_snr.

    The loss averages w_t·norm(output error) over the timesteps that `time` draws (uniform if None). The
    output error is the x_0 error divided by x0_from_output, and each timestep covers |d log_snr/dt| of
    log-SNR, so for l2 weight = w_t / x0_from_output² · p(t) / |d log_snr/dt|. The same holds for huber at
    small errors; for l1, |x0_from_output| is not squared. Specs with the same curve have the same objective,
    whatever their predictions, schedules and time distributions. The weight is NaN where the log-SNR is
    infinite. Kingma & Gao 2023, arXiv:2303.00848.
    """
    log_snr = table.log_snr.numpy()
    _, x0_from_output = as_prediction(prediction).x0_from(table.signal, table.sigma)
    inside = np.isfinite(log_snr)
    width = np.full(log_snr.shape, np.nan)
    if inside.sum() > 1:
        width[inside] = -np.gradient(log_snr[inside])
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 1 if norm == "l1" else 2
        # w_t / x0_from_output² · p(t) / |d log_snr/dt|
        x0_weight = weighting.weights(table, prediction).numpy() / np.abs(x0_from_output.numpy()) ** power
        return log_snr, x0_weight * _density(table, time) / width


def _density(table: Table, time: Time | None) -> Floats:
    """p(t), float64 [T]: the probability that training draws each index, times the importance of its loss."""
    if time is None:
        return np.full(table.timesteps, 1 / table.timesteps)
    density: Floats = (time.probabilities(table) * time.importance(table)).numpy()
    return density
