"""What a run's events say, in memory that hardly grows with the log: numbers as arrays, whole events only where few are needed.

A log of two million lines takes a few gigabytes as dictionaries, and 60 MB like this.
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
"""Last rows of log.csv of which the whole events are kept."""
MOST_PER_T = 200
"""Evaluations over the timesteps that are kept, evenly spaced where there are more."""
MOST_METRICS = 100
MOST_POINTS = 5_000
"""Points of a curve over epochs; of a longer one every second, fourth, … epoch is drawn, and the last."""


def _floats() -> array[float]:
    return array("d")


@dataclass
class Curve:
    """A metric as it was measured while training: epochs (within one, passes over the training images), values, and the ends of
    their 95 % intervals, NaN where there is none."""

    epochs: array[float] = field(default_factory=_floats)
    values: array[float] = field(default_factory=_floats)
    lows: array[float] = field(default_factory=_floats)
    highs: array[float] = field(default_factory=_floats)

    def add(self, epoch: float, value: float, interval: list[float] | None) -> None:
        low, high = interval or (math.nan, math.nan)
        for column, number in zip(
            (self.epochs, self.values, self.lows, self.highs), (epoch, value, low, high), strict=True
        ):
            column.append(number)

    def points(self) -> list[tuple[float, float, tuple[float, float] | None]]:
        """(epoch, value, interval) to draw."""
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
    """All of a run's events, taken in one after the other."""

    steps: array[float] = field(default_factory=_floats)
    losses: array[float] = field(default_factory=_floats)
    norm_steps: array[float] = field(default_factory=_floats)
    norms: array[float] = field(default_factory=_floats)
    """Of single steps: their numbers, their losses, and the gradient's norms of those that have one."""
    columns: dict[str, array[float]] = field(
        default_factory=lambda: {
            key: array("d")
            for key in ("epoch", "step", "train_loss", "val_loss", "seconds", "images_per_second")
        }
    )
    """Of all epochs."""
    rows: deque[Event] = field(default_factory=lambda: deque(maxlen=ROWS))
    """The events of the last rows of log.csv."""
    row_count: int = 0
    """How many rows there are."""
    curves: dict[str, Curve] = field(default_factory=dict)
    latest: dict[str, Event] = field(default_factory=dict)
    """The last event that has each metric, in the order of their first appearance."""
    per_t: list[Event] = field(default_factory=list)
    last_per_t: Event | None = None
    _per_t_seen: int = 0
    _per_t_stride: int = 1

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> History:
        history = cls()
        for event in events:
            history.add(event)
        return history

    def add(self, event: Event) -> None:
        kind = event["event"]
        if kind == "step":
            self.steps.append(event["step"])
            self.losses.append(event["loss"])
            if "grad_norm" in event:
                self.norm_steps.append(event["step"])
                self.norms.append(event["grad_norm"])
        elif kind == "epoch":
            for key, column in self.columns.items():
                column.append(event[key])
            self._add_row(event)
        elif is_row(event):
            self._add_row(event)
        elif kind == "evaluate":
            self._add_metrics(event)
        elif kind == "per_t":
            self._add_per_t(event)

    def column(self, key: str) -> Floats:
        """A number of every epoch."""
        return np.asarray(self.columns[key], dtype=np.float64)

    @property
    def epochs(self) -> int:
        """How many epochs ended."""
        return len(self.columns["epoch"])

    @property
    def seconds(self) -> float | None:
        """Of training; None before the first epoch's end."""
        return sum(self.columns["seconds"]) if self.epochs else None

    @property
    def all_per_t(self) -> list[Event]:
        """Those that are kept, the last among them."""
        return (
            self.per_t
            if self.last_per_t is None or self.per_t[-1] is self.last_per_t
            else [*self.per_t, self.last_per_t]
        )

    def _add_row(self, event: Event) -> None:
        self.rows.append(event)
        self.row_count += 1
        self._add_metrics(event)
        for name, value in event["metrics"].items():
            if name in self.latest:
                known = score(event, name)
                self.curves.setdefault(name, Curve()).add(
                    passes_of(event), value, None if known is None else known["interval"]
                )

    def _add_metrics(self, event: Event) -> None:
        for name in event["metrics"]:
            if name in self.latest or len(self.latest) < MOST_METRICS:
                self.latest[name] = event

    def _add_per_t(self, event: Event) -> None:
        self.last_per_t = event
        if self._per_t_seen % self._per_t_stride == 0:
            self.per_t.append(event)
        self._per_t_seen += 1
        if len(self.per_t) > MOST_PER_T:
            self.per_t = self.per_t[::2]
            self._per_t_stride *= 2


def score(event: Event, name: str) -> Score | None:
    """What an event knows of a metric's value; None for a run of before scores."""
    found: Score | None = event.get("scores", {}).get(name)
    return found


def plotted_indices(epochs: array[float] | Floats) -> list[int]:
    """The indices of the epochs that a curve shows: all, or those whose number is a multiple of a power of two, and the last."""
    numbers = np.asarray(epochs, dtype=np.float64)
    stride = 1
    while np.count_nonzero(numbers % stride == 0) > MOST_POINTS:
        stride *= 2
    shown = np.flatnonzero(numbers % stride == 0).tolist() if stride > 1 else list(range(len(numbers)))
    return (
        shown if not len(numbers) or (shown and shown[-1] == len(numbers) - 1) else [*shown, len(numbers) - 1]
    )
