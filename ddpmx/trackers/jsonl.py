"""One file for the events of many runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from ..components.registry import TRACKERS
from ..errors import SpecError
from ..files import expanded, kind
from .base import Event, Session, Tracker


@TRACKERS.register("jsonl")
class JSONLines(Tracker):
    """Appends every event, with the run's name and id, to one file that many runs may share.

    Nothing is taken out of it: where a run went back, the last of the lines with its id, an event and a step is the one that counts.
    """

    path: str
    """The file, relative to this spec; made if it is not there."""

    def check(self) -> None:
        if kind(expanded(self.path)) == "folder":
            raise SpecError(f"should be a file, and {self.path} is a folder", field="path")

    def open(self, folder: Path, config: dict[str, object], resume: bool) -> Session:
        self.check()
        path = expanded(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JSONLinesSession(path, {"run": str(config["name"]), "id": folder.resolve().name}, resume)


class JSONLinesSession:
    """Appends; after a resume, only the lines that are not there yet."""

    def __init__(self, path: Path, run: dict[str, str], resume: bool) -> None:
        self._run = run
        self._there = (
            set(path.read_bytes().splitlines(keepends=True)) if resume and kind(path) == "file" else set()
        )
        self._file = _append_to(path)

    def log(self, event: Event) -> None:
        line = (json.dumps({**self._run, **event}) + "\n").encode()
        if line not in self._there:
            self._file.write(
                line
            )  # one write a line: on a local disk, lines of runs that share the file do not mix

    def close(self, status: str) -> None:
        self._file.close()


def _append_to(path: Path) -> BinaryIO:
    """The file, opened for writing at its end. Raises OSError also for a pipe that nobody reads, where a plain open would wait."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "ab", buffering=0)
