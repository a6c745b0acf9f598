"""The points that a sampler passes through, and points between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import SpecError
from ..predictions import Prediction
from ..schedules import Table


@dataclass(frozen=True)
class Point:
    """An index with its x_t = signal·x_0 + sigma·ε and x_0 = x0_from_x·x_t + x0_from_output·output."""

    t: float
    """The index, which may be fractional."""
    signal: float
    """The factor of the clean image x_0 in x_t."""
    sigma: float
    """The standard deviation of the noise in x_t."""
    x0_from_x: float
    """The factor of x_t in x_0."""
    x0_from_output: float
    """The factor of the network's output in x_0."""

    @property
    def inside(self) -> bool:
        """Whether log-SNR is finite, that is, neither signal nor sigma is 0."""
        return self.signal > 0 and self.sigma > 0

    @property
    def sigma_ve(self) -> float:
        """sigma/signal, for a finite log-SNR."""
        return self.sigma / self.signal

    @property
    def half_log_snr(self) -> float:
        """λ = log(signal/sigma) as in the DPM-Solver papers, for a finite log-SNR."""
        return math.log(self.signal) - math.log(self.sigma)


def points(table: Table, prediction: Prediction, timesteps: Sequence[float]) -> list[Point]:
    """The points at these indices, which may be fractional.

    Raises SpecError for an index outside the table, and where the prediction cannot recover x_0 in float32.
    """
    signal, sigma = table.at(torch.tensor(timesteps, dtype=torch.float64))
    from_x, from_output = prediction.x0_from(signal, sigma)
    for t, s, a, b in zip(
        timesteps, signal.tolist(), from_x.float().tolist(), from_output.float().tolist(), strict=True
    ):
        if not (math.isfinite(a) and math.isfinite(b)):
            raise SpecError(
                f"the prediction '{prediction.component_name}' cannot recover x_0 at index {t:g}, "
                f"where the signal is {s:g}",
                hint="predict v, or velocity for flow; or use a schedule that keeps some signal",
            )
    columns = zip(
        timesteps, signal.tolist(), sigma.tolist(), from_x.tolist(), from_output.tolist(), strict=True
    )
    return [Point(*column) for column in columns]


def index_at(table: Table, log_snr: float) -> float:
    """The fractional index with this log-SNR, the inverse of `Table.log_snr_at`.

    A log-SNR outside the table's finite range gives the nearest index of that range.
    """
    finite = table.log_snr.isfinite().nonzero()
    first, last = int(finite[0]), int(finite[-1])
    values = table.log_snr[first : last + 1]
    above = int(torch.searchsorted(-values, -log_snr))  # the first index with at most this log-SNR
    if above == 0 or above == len(values):
        return float(first if above == 0 else last)
    low, high = values[above - 1].item(), values[above].item()
    return first + above - 1 + (low - log_snr) / (low - high)


class Path:
    """The points of a sampling run, noisiest first; `path[i]` is point i."""

    def __init__(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> None:
        self.table, self.prediction = table, prediction
        self.points = points(table, prediction, timesteps)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, i: int) -> Point:
        return self.points[i]

    def before(self, i: int, most: int) -> list[Point]:
        """Up to `most` points before point i, newest first, without those of infinite log-SNR."""
        return [point for point in self.points[max(i - most, 0) : i] if point.inside][::-1]

    def between(self, here: Point, there: Point) -> Point:
        """The point halfway between two points in log-SNR. `there` need not be on the path."""
        return points(
            self.table, self.prediction, [index_at(self.table, here.half_log_snr + there.half_log_snr)]
        )[0]
