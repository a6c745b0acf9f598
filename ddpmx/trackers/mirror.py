"""One thread for each tracker of a run, so that no tracker can stop or slow down the run."""

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
from .base import Event, Tracker, TrackerSession

QUEUED = 10_000
"""Largest number of events that may wait for a tracker before it is abandoned."""
CLOSING = 60.0
"""Seconds that all trackers together have to finish at the end of a run."""


class Trackers:
    """The trackers of a run. A tracker that fails or hangs never stops the run or the other trackers."""

    def __init__(
        self,
        openers: dict[str, Callable[[], TrackerSession]] | None = None,
        replay: str = "ddpmx track RUN --to NAME",
    ) -> None:
        self._mirrors = [_Mirror(name, opener, replay) for name, opener in (openers or {}).items()]

    @classmethod
    def open(
        cls, trackers: Iterable[Tracker], folder: Path, config: dict[str, object], resume: bool
    ) -> Trackers:
        """Open all trackers in the background. Raises SpecError if a tracker's `check` does."""
        openers: dict[str, Callable[[], TrackerSession]] = {}
        for index, tracker in enumerate(trackers):
            tracker.check()
            name = tracker.component_name or type(tracker).__name__
            name = f"{name} ({index})" if name in openers else name
            openers[name] = lambda tracker=tracker: tracker.open(folder, config, resume)  # type: ignore[misc]
        return cls(openers, f"python -m ddpmx track {folder} --to NAME")

    def log(self, event: Event) -> None:
        """Queue an event for every tracker."""
        for mirror in self._mirrors:
            mirror.put(event)

    def close(self, status: str) -> None:
        """Report how the run ended, and wait for all trackers, at most CLOSING seconds altogether."""
        deadline = time.monotonic() + CLOSING
        for mirror in self._mirrors:
            mirror.put(_End(status))
        for mirror in self._mirrors:
            mirror.wait(deadline)


class _End:
    """The last item of a queue."""

    def __init__(self, status: str) -> None:
        self.status = status


class _Mirror:
    """One tracker: its queue, and the thread that opens it, passes it the events in order and closes it."""

    def __init__(self, name: str, opener: Callable[[], TrackerSession], replay: str) -> None:
        self._name, self._opener, self._replay = name, opener, replay
        self._queue: Queue[Event | _End] = Queue(QUEUED)
        self._abandoned = self._warned = False
        # A daemon thread, so that a tracker that hangs does not keep the process alive.
        self._thread = Thread(target=self._run, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, item: Event | _End) -> None:
        if self._abandoned:
            return
        try:
            self._queue.put_nowait(item)
        except Full:
            self._abandon(f"is {QUEUED} events behind")

    def wait(self, deadline: float) -> None:
        if not self._abandoned:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                self._abandon(f"did not finish within {CLOSING:g} seconds")

    def _run(self) -> None:
        try:
            session = self._opener()
        except (Exception, SystemExit) as error:  # no tracker's error may end hours of training
            self._failed(error)
            self._abandoned = True
            return
        while not self._abandoned:
            item = self._queue.get()
            try:
                if isinstance(item, _End):
                    session.close(item.status)
                    return
                session.log(item)
            except (Exception, SystemExit) as error:  # likewise
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

    def _abandon(self, reason: str) -> None:
        self._abandoned = True
        self._warned = False
        self._warn(f"{reason} and gets no more events")

    def _warn(self, what: str) -> None:
        """Warn once per tracker, so that a network failure does not flood the terminal."""
        if not self._warned:
            self._warned = True
            replay = self._replay.replace("NAME", self._name.split(" ")[0])
            echo(
                f"warning: the tracker {self._name} {what}; the run continues, and metrics.jsonl has all"
                f" events: to send them to the tracker later, run `{replay}`",
                err=True,
            )
