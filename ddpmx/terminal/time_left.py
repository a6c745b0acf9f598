"""Lines that say how far long work is, where no bar can move: few, and fewer the longer it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

FIRST, LEAST, MOST = 30.0, 60.0, 600.0
"""Seconds before the first line about a piece of work; fewest and most between two lines of all."""
SHARE = 5
"""A line about every 1/SHARE of the time that the work has taken so far, within these bounds."""


def duration(seconds: float) -> str:
    """43 s, 2 min 05 s, 12 min, 3 h 20 min: three digits or so."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def roughly(seconds: float) -> str:
    """A duration as one says it of a guess: 45 s, 2 min 50 s, 3 h 20 min, 31 h, 4.2 days."""
    hours = seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days" if hours < 240 else f"{hours / 24:,.0f} days"
    if hours >= 9.9:
        return f"{hours:.0f} h"
    if seconds < 60:
        return duration(float(f"{seconds:.2g}"))
    step = 10 if seconds < 600 else 60 if hours < 1 else 600
    return duration(round(seconds / step) * step)


@dataclass
class _Work:
    started: float
    done: int
    """Before this process saw it: what a resumed run did earlier."""


@dataclass
class TimeLeft:
    """When a line is due, and what it says; of several pieces of work, each by its name, one of which may be part of another."""

    _works: dict[str, _Work] = field(default_factory=dict)
    _last: float | None = None

    def line(self, what: str, done: int, total: int, note: str = "") -> str:
        """The line for `done` of `total`, or nothing where none is due."""
        now = time.perf_counter()
        work = self._works.get(what)
        if work is None or done < work.done:
            work = self._works[what] = _Work(now, done)
        if done >= total:
            del self._works[what]
            return ""
        took, parts = now - work.started, done - work.done
        since = now - self._last if self._last is not None else MOST
        if took < FIRST or parts == 0 or since < min(max(LEAST, took / SHARE), MOST):
            return ""
        self._last = now
        return f"{what}: {done:,} of {total:,}, about {roughly(took * (total - done) / parts)} left" + (
            f"  ({note})" if note else ""
        )
