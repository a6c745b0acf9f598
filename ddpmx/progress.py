"""A bar for one slow loop, where `console.Bar` would have to be carried through many layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from .console import console, is_live

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar on stderr while they last, if one can move there. `total` None: `len(items)` if it has one."""
    if not is_live():
        yield from items
        return
    from rich.progress import track as bar

    yield from bar(items, description, total=total, console=console, transient=True)
