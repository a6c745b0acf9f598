"""`metrics.jsonl`: an event a line, appended whole and read in memory that does not grow with the file.

A damaged line never hides the others: it is left out and reported, and a resumed run moves it to `metrics.jsonl.damaged`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import RunError
from ..files import open_regular, why
from ..outputs import whole
from ..terminal.console import warn
from ..text import shortened
from ..training.events import Event, kind_of, parse
from .checkpoint_folder import sync

MAX_LINE = 1_000_000
"""Bytes of an event; a longer line is damaged."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class _Line:
    """A line of the file: its event, or what is wrong with it."""

    number: int
    start: int
    end: int
    content: bytes
    """Without the rest of a line that is longer than MAX_LINE."""
    event: Event | None
    problem: str = ""


class EventLog:
    """The events of a run, oldest first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: Mapping[str, object]) -> None:
        """Append a line, whole or not at all, whatever a killed process or a full disk left at the end of the file."""
        line = to_json(event)
        with self._locked() as file:
            whole = _whole(file)
            file.truncate(whole)
            if whole and os.pread(file.fileno(), 1, whole - 1) != b"\n":
                line = b"\n" + line
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            except OSError:
                file.truncate(whole)
                raise

    def sync(self) -> None:
        """Wait until the disk has the events."""
        if self.path.exists():
            sync(self.path)

    def read(self, *kinds: str) -> Iterator[Event]:
        """All events, damaged lines left out and reported once; a torn last line is no event.

        With `kinds` only those, at a fraction of the time and without a report: for a look besides one at the whole.
        Raises SpecError where the file cannot be opened, RunError where it cannot be read to its end.
        """
        first, count = None, 0
        for line in self._lines(kinds):
            if line.event is not None:
                if not kinds or line.event["event"] in kinds:
                    yield line.event
            else:
                first, count = first or line, count + 1
        if first is not None and not kinds:
            self._report(first, count, "left out")

    def cut(self, stays: Callable[[Event], bool]) -> None:
        """Keep the events for which `stays` is true, each line as it was written; atomic. Damaged lines move to a file of their own."""
        if not self.path.exists():
            return
        first, count = None, 0
        with self._locked() as old, whole(self.path) as beside, beside.open("wb") as new:
            for line in self._lines():
                if line.event is None:
                    first, count = first or line, count + 1
                    self._set_aside(old, line)
                elif stays(line.event):
                    new.write(line.content.rstrip(b"\r\n") + b"\n")
        if first is not None:
            self._report(first, count, f"moved to {self.path.name}.damaged")

    def _locked(self) -> BinaryIO:
        """The file, locked: `evaluate` may write while the run does, and `cut` puts another file in its place."""
        while True:
            file = self.path.open("a+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    return file
            except FileNotFoundError:
                pass  # replaced or deleted meanwhile: the next `open` tells which
            file.close()

    def _lines(self, kinds: Collection[str] = ()) -> Iterator[_Line]:
        """All lines but a torn last one; those of other `kinds`, if some are given, may be left out."""
        if not os.path.lexists(self.path):
            return
        number = start = 0
        with open_regular(self.path) as file:
            try:
                while content := file.readline(MAX_LINE):
                    number += 1
                    end, last = start + len(content), content
                    while not last.endswith(b"\n") and (last := file.readline(MAX_LINE)):
                        end += len(last)
                    if line := _line(
                        _Line(number, start, end, content, None), kinds, is_last=not last.endswith(b"\n")
                    ):
                        yield line
                    start = end
            except OSError as error:
                raise RunError(f"{self.path} cannot be read: {why(error)}") from None

    def _set_aside(self, file: BinaryIO, line: _Line) -> None:
        with self.path.with_name(f"{self.path.name}.damaged").open("ab") as damaged:
            for start in range(line.start, line.end, CHUNK):
                damaged.write(os.pread(file.fileno(), min(CHUNK, line.end - start), start))

    def _report(self, first: _Line, count: int, what: str) -> None:
        place = f"{shortened(str(self.path))}:{first.number} is damaged ({shortened(first.problem)})"
        warn(f"{place} and {what}" if count == 1 else f"{place}; {count:,} damaged lines are {what}")


def to_json(value: object, indent: int | None = None) -> bytes:
    """A JSON document and a line end. Halves of surrogate pairs, which names of files may hold, become question marks."""
    text = json.dumps(value, indent=indent, default=str)
    if "\\ud" in text:
        return (
            json.dumps(value, indent=indent, default=str, ensure_ascii=False).encode("utf-8", "replace")
            + b"\n"
        )
    return text.encode() + b"\n"


def _line(line: _Line, kinds: Collection[str], is_last: bool) -> _Line | None:
    """The line with its event or its problem; None for one that counts as none: empty, torn, or of a kind that is not asked for."""
    content = line.content.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.content
    kind = kind_of(content)
    if not content.strip() or (kinds and kind and kind not in kinds):
        return None
    try:
        if line.end - line.start > MAX_LINE:
            raise ValueError(f"longer than {MAX_LINE:,} bytes")
        return _Line(line.number, line.start, line.end, content, parse(content))
    except ValueError as error:
        return None if is_last else _Line(line.number, line.start, line.end, b"", None, str(error))


def _whole(file: BinaryIO) -> int:
    """The length of the file without what a killed process left of a line."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - CHUNK)
        found = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if size - end <= MAX_LINE:
        try:
            parse(os.pread(file.fileno(), size - end, end))
        except ValueError:
            return end
        return size  # only its line end is missing: an editor may have taken it away
    return end
