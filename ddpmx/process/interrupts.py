"""Handling Ctrl-C, SIGTERM and SIGHUP from start to end, and the death of the parent process.

`StopSignal` takes over while a run trains. This module imports only what Python has already loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT = "DDPMX_PARENT"
"""Environment variable of a sweep's point: the id of the process that it must not outlive."""
INTERRUPTED = 130
"""Exit code after an interrupt."""
POLL_INTERVAL, GRACE_PERIOD = 0.5, 60.0
"""Seconds between checks that the parent lives, and between SIGTERM and SIGKILL after its death."""
RETRY_DELAY = 0.05
"""Seconds until a signal that arrived at a bad moment is sent again."""
_received: Counter[int] = Counter()
"""Number of times that each signal has arrived, without those that this module sent again."""
_resent: set[int] = set()
"""Signals that this module has sent again and that have not arrived yet."""


def install() -> None:
    """Make the signals raise KeyboardInterrupt; a second Ctrl-C or SIGTERM ends the process at once.

    Signals that are ignored stay ignored, as in a background job or, for SIGHUP, under nohup.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable
    _end_with_parent()


def over(code: int) -> None:
    """From now on, make a signal end the process at once, with this exit code."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number in _resent:
        _resent.discard(number)
    else:
        _received[number] += 1
        if _received[number] > 1 and number != signal.SIGHUP:  # a closing terminal sends several SIGHUP
            _exit_now()
        if _received.total() > 1:
            return
    importer = _importer(frame)
    if importer.startswith(("ddpmx.cli", "ddpmx.__main__", "__main__")):  # no work has begun yet
        _exit_now()
    if importer:
        _send_again(number)
    else:
        raise KeyboardInterrupt


def _importer(frame: FrameType | None) -> str:
    """The module whose import statement is running, the outermost if they are nested; empty if there is none.

    C code that is interrupted during an import prints a traceback and raises another error.
    """
    importer = ""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") and frame.f_back is not None:
            importer = str(frame.f_back.f_globals.get("__name__"))
        frame = frame.f_back
    return importer


def _exit_now() -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Send an interrupt again that was raised in a destructor or callback, where Python can only print it."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _send_again(signal.SIGINT)
    else:
        sys.__unraisablehook__(unraisable)


def _send_again(number: int) -> None:
    _resent.add(number)
    timer = threading.Timer(RETRY_DELAY, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def _end_with_parent() -> None:
    """Stop this process when the sweep or torchrun that started it has died, for whatever reason."""
    sweep = os.environ.pop(PARENT, None)
    if sweep is None and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid() if sweep is None else int(sweep)
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_PERIOD)
    os.kill(os.getpid(), signal.SIGKILL)
