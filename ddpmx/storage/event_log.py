"""`metrics.jsonl`: one event per line, appended atomically and read in constant memory.

A damaged line never hides the others: it is skipped and reported, and when the run is resumed it moves to
`metrics.jsonl.damaged`.
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
"""Most bytes of an event; a longer line counts as damaged."""
CHUNK = 1 << 16
"""Bytes read at a time when a line is copied or searched for."""


@dataclass(frozen=True)
class _Line:
    """A line of the file: its event, or what is wrong with it."""

    number: int
    """Counted from 1."""
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset just after its last byte."""
    content: bytes
    """At most MAX_LINE bytes of it."""
    event: Event | None
    """None if the line is damaged."""
    problem: str = ""
    """Why it is damaged."""


class EventLog:
    """The events of a run, from oldest to newest."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: Mapping[str, object]) -> None:
        """Append an event atomically, after removing a partial line that an interrupted write left."""
        line = to_json(event)
        with self._locked() as file:
            length = _intact_length(file)
            file.truncate(length)
            if length and os.pread(file.fileno(), 1, length - 1) != b"\n":
                line = b"\n" + line
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
            except OSError:
                file.truncate(length)
                raise

    def sync(self) -> None:
        """Wait until the events are on disk."""
        if self.path.exists():
            sync(self.path)

    def read(self, *kinds: str) -> Iterator[Event]:
        """The events; damaged lines are skipped with one warning, and an incomplete last line is ignored.

        With `kinds`, only events of these kinds: far faster, and without the warning, which a full read
        gives. Raises SpecError if the file cannot be opened, RunError if it cannot be read to its end.
        """
        first, count = None, 0
        for line in self._lines(kinds):
            if line.event is not None:
                if not kinds or line.event["event"] in kinds:
                    yield line.event
            else:
                first, count = first or line, count + 1
        if first is not None and not kinds:
            self._report(first, count, "skipped")

    def cut(self, keep: Callable[[Event], bool]) -> None:
        """Delete all events but those that `keep` accepts, atomically; damaged lines move to a separate file.

        Lines that are kept do not change.
        """
        if not self.path.exists():
            return
        first, count = None, 0
        with self._locked() as old, whole(self.path) as temporary, temporary.open("wb") as new:
            for line in self._lines():
                if line.event is None:
                    first, count = first or line, count + 1
                    self._set_aside(old, line)
                elif keep(line.event):
                    new.write(line.content.rstrip(b"\r\n") + b"\n")
        if first is not None:
            self._report(first, count, f"moved to {self.path.name}.damaged")

    def _locked(self) -> BinaryIO:
        """The file, locked, as `evaluate` may write to it while the run does, and `cut` replaces it."""
        while True:
            file = self.path.open("a+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    return file
            except FileNotFoundError:
                pass  # deleted since it was opened: open it again
            file.close()

    def _lines(self, kinds: Collection[str] = ()) -> Iterator[_Line]:
        """All lines except an incomplete last one; given `kinds`, lines of other kinds may be skipped."""
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
        """Append a damaged line to `metrics.jsonl.damaged`."""
        with self.path.with_name(f"{self.path.name}.damaged").open("ab") as damaged:
            for start in range(line.start, line.end, CHUNK):
                damaged.write(os.pread(file.fileno(), min(CHUNK, line.end - start), start))

    def _report(self, first: _Line, count: int, what: str) -> None:
        problem = f"{shortened(str(self.path))}:{first.number} is damaged ({shortened(first.problem)})"
        warn(f"{problem} and {what}" if count == 1 else f"{problem}; {count:,} damaged lines are {what}")


def to_json(value: object, indent: int | None = None) -> bytes:
    """A JSON document and a newline; unpaired surrogates, as in odd file names, become question marks."""
    text = json.dumps(value, indent=indent, default=str)
    if "\\ud" in text:
        return (
            json.dumps(value, indent=indent, default=str, ensure_ascii=False).encode("utf-8", "replace")
            + b"\n"
        )
    return text.encode() + b"\n"


def _line(line: _Line, kinds: Collection[str], is_last: bool) -> _Line | None:
    """The line with its event or problem; None if it is empty, incomplete, or of a kind not in `kinds`."""
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


def _intact_length(file: BinaryIO) -> int:
    """The file's length in bytes, without an incomplete last line."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - CHUNK)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if size - end <= MAX_LINE:
        try:
            parse(os.pread(file.fileno(), size - end, end))
        except ValueError:
            return end
        return size  # only the newline is missing: an editor may have removed it
    return end
