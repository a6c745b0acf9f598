"""Progress and warnings on stderr: a moving bar on a terminal; plain lines elsewhere, and if CI is set."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..text import json_text, lines, visible
from .time_left import TimeLeft

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""The console for everything that is not a command's result."""


WARNING = "warning: "
"""The beginning of a warning's line."""


def is_live() -> bool:
    """Whether to show a moving progress bar."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@cache
def warn(text: str) -> None:
    """Print a warning on stderr, once per process and text."""
    say(f"{WARNING}{text}")


def to_json(data: object, ascii_only: bool = False) -> str:
    """JSON that every parser accepts: numbers that are not finite, which JSON cannot express, become null."""
    return json_text(json.dumps(_finite(data), indent=2, ensure_ascii=ascii_only, default=str))


def _finite(data: object) -> object:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def say(text: str) -> None:
    """Print a line on stderr, above any bars, with control characters made visible.

    Where nothing is printed, a warning becomes one of Python's.
    """
    if console.quiet and text.startswith(WARNING):
        warnings.warn(visible(text.removeprefix(WARNING)), stacklevel=2)
    console.print(lines(text), markup=False)


@contextmanager
def shown(progress: bool | None) -> Iterator[None]:
    """A context that prints progress and messages, or not; None: only if stderr is a terminal."""
    before = console.quiet
    console.quiet = not (sys.stderr.isatty() if progress is None else progress)
    try:
        yield
    finally:
        console.quiet = before


class _Bars(Progress):
    """Progress bars with lines of text below them."""

    foot: tuple[str, ...] = ()
    """The lines below the bars."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in self.foot)


class Bar:
    """The progress of long work: a bar, or occasional lines with the time left if no bar can move."""

    def __init__(self, quiet: bool = False) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),  # everything fits into 80 characters
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = _Bars(*columns, console=console, disable=quiet or not is_live(), transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._lines = None if quiet or is_live() else TimeLeft()

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int, note: str = "") -> None:
        """Move the bar called `what`, which is created at its first use and removed when it is full."""
        if self._lines is not None:
            if line := self._lines.line(what, done, total, note):
                self.say(visible(line))
            return
        what, note = visible(what), visible(note)
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, note=note)
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)
        if done >= total and what != "train":
            self._progress.remove_task(self._tasks.pop(what))

    def foot(self, *texts: str) -> None:
        """Set the lines below the bar."""
        self._progress.foot = tuple(map(visible, texts))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        say(text)
