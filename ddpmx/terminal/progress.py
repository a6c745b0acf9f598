"""A progress bar for a single slow loop, to which passing a `console.Bar` would involve many layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from ..text import visible
from .console import console, is_live
from .time_left import TimeLeft

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show a bar on stderr, or lines with the time left. `total`: by default
    len(items)."""
    if not is_live():
        count = total if total is not None else len(items) if isinstance(items, Sized) else None
        lines = TimeLeft()
        for done, item in enumerate(items):
            if count is not None and (line := lines.line(description, done, count)):
                console.print(visible(line), markup=False)
            yield item
        return
    from rich.progress import track as bar

    yield from bar(items, description, total=total, console=console, transient=True)
