"""The tracker that collects the events of many runs in one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from ..components.registry import TRACKERS
from ..errors import SpecError
from ..files import expanded, kind
from .base import Event, Tracker, TrackerSession


@TRACKERS.register("jsonl")
class JSONLines(Tracker):
    """Appends every event, with the run's name and id, to one file that many runs may share.

    Lines are never removed. After a rollback, several lines may have the same id, event and step; the last
    one is valid.
    """

    path: str
    """The file, relative to the spec; created if it does not exist."""

    def check(self) -> None:
        if kind(expanded(self.path)) == "folder":
            raise SpecError(f"should be a file, but {self.path} is a folder", field="path")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> TrackerSession:
        self.check()
        path = expanded(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JSONLinesSession(path, {"run": str(config["name"]), "id": folder.resolve().name}, resume)


class JSONLinesSession:
    """Appends events; after a resume, only those that the file does not have yet."""

    def __init__(self, path: Path, run: dict[str, str], resume: bool) -> None:
        self._run = run
        self._existing = (
            set(path.read_bytes().splitlines(keepends=True)) if resume and kind(path) == "file" else set()
        )
        self._file = _append_to(path)

    def log(self, event: Event) -> None:
        line = (json.dumps({**self._run, **event}) + "\n").encode()
        if line not in self._existing:
            # One write per line: on a local disk, lines of runs that share the file are not interleaved.
            self._file.write(line)

    def close(self, status: str) -> None:
        self._file.close()


def _append_to(path: Path) -> BinaryIO:
    """Open a file for appending. Raises OSError for a pipe without a reader, where `open` would block."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "ab", buffering=0)
