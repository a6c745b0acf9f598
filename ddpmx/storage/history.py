"""A run's events in little memory: numbers as arrays, and complete events only where a few are needed.

A log of two million lines takes a few gigabytes as dictionaries, and 60 MB in this form.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..training.events import Event, Score, is_row, passes_of

Floats = NDArray[np.float64]
ROWS = 200
"""How many of the last rows of log.csv are kept as complete events."""
MOST_PER_T = 200
"""Most `per_t` events (evaluations by timestep) that are kept; of more, evenly spaced ones."""
MOST_METRICS = 100
"""Most metrics that are kept; further ones are ignored."""
MEASURED = ("epoch", "step", "train_loss", "val_loss", "seconds", "images_per_second")
"""Keys that every `epoch` event has."""
MOST_POINTS = 5_000
"""Most points of a curve over epochs; of a longer one, every 2nd, 4th, … epoch is plotted, and the last."""


def _floats() -> array[float]:
    return array("d")


@dataclass
class Curve:
    """A metric as measured during training."""

    epochs: array[float] = field(default_factory=_floats)
    """When: epochs, or passes over the training images for a measurement within an epoch."""
    steps: array[float] = field(default_factory=_floats)
    """When: training steps."""
    values: array[float] = field(default_factory=_floats)
    """The metric's values."""
    lows: array[float] = field(default_factory=_floats)
    """Lower ends of the 95 % intervals; NaN if a value has no interval."""
    highs: array[float] = field(default_factory=_floats)
    """Upper ends of the 95 % intervals; NaN if a value has no interval."""

    def add(self, when: tuple[float, int], value: float, interval: list[float] | None) -> None:
        """Append a measurement made after so many (epochs, steps)."""
        columns = (self.epochs, self.steps, self.values, self.lows, self.highs)
        for column, number in zip(columns, (*when, value, *(interval or (math.nan, math.nan))), strict=True):
            column.append(number)

    def points(self) -> list[tuple[float, float, tuple[float, float] | None]]:
        """(epoch, value, interval) of each point to plot; at most about MOST_POINTS."""
        return [
            (
                self.epochs[i],
                self.values[i],
                None if math.isnan(self.lows[i]) else (self.lows[i], self.highs[i]),
            )
            for i in plotted_indices(self.epochs)
        ]


@dataclass
class History:
    """Everything that pages need from a run's events, added one by one."""

    steps: array[float] = field(default_factory=_floats)
    """Numbers of the logged steps."""
    losses: array[float] = field(default_factory=_floats)
    """Training losses of the logged steps."""
    norm_steps: array[float] = field(default_factory=_floats)
    """Numbers of the logged steps that have a gradient norm."""
    norms: array[float] = field(default_factory=_floats)
    """Their gradient norms."""
    columns: dict[str, array[float]] = field(
        default_factory=lambda: {key: array("d") for key in (*MEASURED, "images")}
    )
    """Numbers of all epochs, by the key of the `epoch` event.

    `images` is NaN in runs of early versions, which did not record it.
    """
    rows: deque[Event] = field(default_factory=lambda: deque(maxlen=ROWS))
    """Events of the last rows of log.csv."""
    row_count: int = 0
    """Rows of log.csv, including those not kept."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """Metrics measured during training, by name."""
    per_t: list[Event] = field(default_factory=list)
    """Evenly spaced `per_t` events; see `all_per_t`."""
    last_per_t: Event | None = None
    """The newest `per_t` event."""
    _per_t_count: int = 0
    _per_t_stride: int = 1

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> History:
        """The history of a whole log."""
        history = cls()
        for event in events:
            history.add(event)
        return history

    def add(self, event: Event) -> None:
        """Take in one more event."""
        kind = event["event"]
        if kind == "step":
            self.steps.append(event["step"])
            self.losses.append(event["loss"])
            if "grad_norm" in event:
                self.norm_steps.append(event["step"])
                self.norms.append(event["grad_norm"])
        elif kind == "epoch":
            for key, column in self.columns.items():
                column.append(event[key] if key in MEASURED else event.get(key, math.nan))
            self._add_row(event)
        elif is_row(event):
            self._add_row(event)
        elif kind == "per_t":
            self._add_per_t(event)

    def column(self, key: str) -> Floats:
        """One number of every epoch: float64 [epochs]."""
        return np.asarray(self.columns[key], dtype=np.float64)

    @property
    def epochs(self) -> int:
        """Number of epochs that ended."""
        return len(self.columns["epoch"])

    @property
    def seconds(self) -> float | None:
        """Training time in seconds; None before the first epoch ends."""
        return sum(self.columns["seconds"]) if self.epochs else None

    @property
    def all_per_t(self) -> list[Event]:
        """The `per_t` events that are kept, including the newest one."""
        return (
            self.per_t
            if self.last_per_t is None or self.per_t[-1] is self.last_per_t
            else [*self.per_t, self.last_per_t]
        )

    def _add_row(self, event: Event) -> None:
        self.rows.append(event)
        self.row_count += 1
        for name, value in event["metrics"].items():
            if name in self.curves or len(self.curves) < MOST_METRICS:
                known = score(event, name)
                self.curves.setdefault(name, Curve()).add(
                    (passes_of(event), event["step"]), value, None if known is None else known["interval"]
                )

    def _add_per_t(self, event: Event) -> None:
        self.last_per_t = event
        if self._per_t_count % self._per_t_stride == 0:
            self.per_t.append(event)
        self._per_t_count += 1
        if len(self.per_t) > MOST_PER_T:
            self.per_t = self.per_t[::2]
            self._per_t_stride *= 2


def score(event: Event, name: str) -> Score | None:
    """The details recorded with a metric's value; None if there are none, as in runs of early versions."""
    details: Score | None = event.get("scores", {}).get(name)
    return details


def plotted_indices(epochs: array[float] | Floats) -> list[int]:
    """Indices of the epochs to plot: all, or of too many the multiples of a power of two and the last."""
    numbers = np.asarray(epochs, dtype=np.float64)
    stride = 1
    while np.count_nonzero(numbers % stride == 0) > MOST_POINTS:
        stride *= 2
    shown = np.flatnonzero(numbers % stride == 0).tolist() if stride > 1 else list(range(len(numbers)))
    return (
        shown if not len(numbers) or (shown and shown[-1] == len(numbers) - 1) else [*shown, len(numbers) - 1]
    )
