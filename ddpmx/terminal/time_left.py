"""Lines that report the progress of long work where no bar can move, the rarer the longer it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

FIRST_LINE_AFTER = 30.0
"""Seconds of work before its first line."""
MIN_INTERVAL, MAX_INTERVAL = 60.0, 600.0
"""Bounds of the seconds between two lines."""
INTERVAL_DIVISOR = 5
"""Within these bounds, the interval is the time that the work has taken so far, divided by this."""


def duration(seconds: float) -> str:
    """A duration to about three digits: 43 s, 2 min 05 s, 12 min, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def roughly(seconds: float) -> str:
    """An estimated duration, rounded as estimates are: 45 s, 2 min 50 s, 3 h 20 min, 31 h, 4.2 days."""
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
    """A piece of work when it was first reported."""

    started: float
    """`time.perf_counter()` at that moment."""
    done: int
    """The part that was already done, for example by a run before it was resumed."""


@dataclass
class TimeLeft:
    """Decides when a line is due and what it says, for pieces of work by name, which may be nested."""

    _works: dict[str, _Work] = field(default_factory=dict)
    """The unfinished pieces of work, by name."""
    _last: float | None = None
    """`time.perf_counter()` at the last line."""

    def line(self, what: str, done: int, total: int, note: str = "") -> str:
        """The line for `done` of `total`; empty if none is due."""
        now = time.perf_counter()
        work = self._works.get(what)
        if work is None or done < work.done:
            work = self._works[what] = _Work(now, done)
        if done >= total:
            del self._works[what]
            return ""
        elapsed, parts = now - work.started, done - work.done
        since_last = now - self._last if self._last is not None else MAX_INTERVAL
        interval = min(max(MIN_INTERVAL, elapsed / INTERVAL_DIVISOR), MAX_INTERVAL)
        if elapsed < FIRST_LINE_AFTER or parts == 0 or since_last < interval:
            return ""
        self._last = now
        line = f"{what}: {done:,} of {total:,}, about {roughly(elapsed * (total - done) / parts)} left"
        return f"{line}  ({note})" if note else line
