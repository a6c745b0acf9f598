"""Stopping a run on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType

from ..errors import Interrupted

Handler = Callable[[int, FrameType | None], object] | int | None
"""A signal's handler: a function, SIG_DFL, SIG_IGN, or None if it was not set by Python."""


class StopSignal:
    """A context in which a first signal requests a stop after the current step; a second one stops at once.

    Two different signals count as one request, since torchrun follows Ctrl-C with SIGTERM. SIGHUP never stops
    at once, since a closing terminal sends several. Calling the object returns whether a stop was requested.
    """

    def __init__(self) -> None:
        self._received: Counter[int] = Counter()
        self._previous: dict[int, Handler] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # other threads cannot set handlers
            numbers = [signal.SIGINT, signal.SIGTERM]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored
                numbers.append(signal.SIGHUP)
            self._previous = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received[number] += 1
        if self._received[number] > 1 and number != signal.SIGHUP:
            raise KeyboardInterrupt

    def __call__(self) -> bool:
        return bool(self._received)

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self._received:
            raise Interrupted("stopped on request")
