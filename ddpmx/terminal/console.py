"""What a run says while it works: a progress bar on a terminal, plain lines otherwise or where CI is set."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable
from functools import cache
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..text import json_text, lines, visible
from .time_left import TimeLeft

console = Console(stderr=True, highlight=False, soft_wrap=True)


def is_live() -> bool:
    """Whether a moving bar makes sense."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@cache
def warn(text: str) -> None:
    """A warning on stderr, once a process however often it is found."""
    say(f"warning: {text}")


def to_json(data: object, ascii_only: bool = False) -> str:
    """JSON that every parser reads: numbers that are not finite, for which it has no word, are null."""
    return json_text(json.dumps(_finite(data), indent=2, ensure_ascii=ascii_only, default=str))


def _finite(data: object) -> object:
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def say(text: str) -> None:
    """A line on stderr, above the bars, with control characters made visible."""
    console.print(lines(text), markup=False)


class _Bars(Progress):
    """Bars with lines below them."""

    foot: tuple[str, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in self.foot)


class Bar:
    """One progress bar for long work; where it cannot move, a line now and then with the time left."""

    def __init__(self, quiet: bool = False) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),  # so that all fits into 80 characters
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
        """Move the bar called `what`, making it at first use; a full one goes away."""
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
        """The lines below the bar."""
        self._progress.foot = tuple(map(visible, texts))

    def say(self, text: str) -> None:
        """A line above the bar."""
        say(text)
