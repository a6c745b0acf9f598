"""What stands between a run and its trackers: a thread each, so that none of them stops or slows the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Full, Queue
from threading import Thread

from ..errors import PluginError
from ..plugins.faults import plugin_error
from ..terminal.printing import echo
from ..text import shortened
from .base import Event, Session, Tracker

QUEUED = 10_000
"""Events that may wait for a tracker; it is given up when there are more."""
CLOSING = 60.0
"""Seconds at the end of a run in which all trackers should have finished."""


class Trackers:
    """The trackers of a run. What one of them raises, or how long it takes, never stops the run, nor the others."""

    def __init__(
        self,
        openers: dict[str, Callable[[], Session]] | None = None,
        replay: str = "ddpmx track RUN --to NAME",
    ) -> None:
        self._mirrors = [_Mirror(name, opener, replay) for name, opener in (openers or {}).items()]

    @classmethod
    def open(
        cls, trackers: Iterable[Tracker], folder: Path, config: dict[str, object], resume: bool
    ) -> Trackers:
        """Open them all, without waiting. Raises SpecError, the user's to mend, where one cannot work here."""
        openers: dict[str, Callable[[], Session]] = {}
        for index, tracker in enumerate(trackers):
            tracker.check()
            name = tracker.component_name or type(tracker).__name__
            name = f"{name} ({index})" if name in openers else name
            openers[name] = lambda tracker=tracker: tracker.open(folder, config, resume)  # type: ignore[misc]
        return cls(openers, f"python -m ddpmx track {folder} --to NAME")

    def log(self, event: Event) -> None:
        for mirror in self._mirrors:
            mirror.put(event)

    def close(self, status: str) -> None:
        """Tell them how the run ended and wait for them, together no longer than CLOSING."""
        until = time.monotonic() + CLOSING
        for mirror in self._mirrors:
            mirror.put(_End(status))
        for mirror in self._mirrors:
            mirror.wait(until)


class _End:
    def __init__(self, status: str) -> None:
        self.status = status


class _Mirror:
    """One tracker: its queue, and the thread that opens it, hands it the events in order and closes it."""

    def __init__(self, name: str, opener: Callable[[], Session], replay: str) -> None:
        self._name, self._opener, self._replay = name, opener, replay
        self._queue: Queue[Event | _End] = Queue(QUEUED)
        self._given_up = self._warned = False
        self._thread = Thread(
            target=self._run, name=f"tracker {name}", daemon=True
        )  # a daemon: one that hangs does not keep the process
        self._thread.start()

    def put(self, item: Event | _End) -> None:
        if self._given_up:
            return
        try:
            self._queue.put_nowait(item)
        except Full:
            self._give_up(f"is {QUEUED} events behind")

    def wait(self, until: float) -> None:
        if not self._given_up:
            self._thread.join(max(0.0, until - time.monotonic()))
            if self._thread.is_alive():
                self._give_up(f"did not finish within {CLOSING:g} seconds")

    def _run(self) -> None:
        try:
            session = self._opener()
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever a tracker raises: hours of training are worth more than its copy
            self._failed(error)
            self._given_up = True
            return
        while not self._given_up:
            item = self._queue.get()
            try:
                if isinstance(item, _End):
                    session.close(item.status)
                    return
                session.log(item)
            except (Exception, SystemExit) as error:  # as above
                self._failed(error)
                if isinstance(item, _End):
                    return

    def _failed(self, error: BaseException) -> None:
        fault = error if isinstance(error, PluginError) else plugin_error(error)
        self._warn(
            f"failed ({type(error).__name__}: {shortened(str(error))})"
            if fault is None
            else f"failed ({fault})"
        )

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._warned = False
        self._warn(f"{why} and is left alone")

    def _warn(self, what: str) -> None:
        """Once a tracker, so that a network that is down does not fill the terminal."""
        if not self._warned:
            self._warned = True
            replay = self._replay.replace("NAME", self._name.split(" ")[0])
            text = f"warning: the tracker {self._name} {what}; the run goes on, metrics.jsonl has everything: {replay}"
            echo(text, err=True)
