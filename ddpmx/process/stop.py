"""Stopping a run on request: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType

from ..errors import Interrupted

Handler = Callable[[int, FrameType | None], object] | int | None
"""Of a signal: a function, SIG_DFL, SIG_IGN, or None for one that was not set by Python."""


class StopSignal:
    """A context in which the first signal asks for a stop after the step under way; a second Ctrl-C or SIGTERM stops at once.

    Two different signals are one request: torchrun follows Ctrl-C by SIGTERM, and a terminal that closes sends several SIGHUP.
    """

    def __init__(self) -> None:
        self._asked: Counter[int] = Counter()
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            numbers = [signal.SIGINT, signal.SIGTERM]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
                numbers.append(signal.SIGHUP)
            self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked[number] += 1
        if self._asked[number] > 1 and number != signal.SIGHUP:
            raise KeyboardInterrupt

    def __call__(self) -> bool:
        return bool(self._asked)

    def check(self) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self._asked:
            raise Interrupted("stopped on request")
