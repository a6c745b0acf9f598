"""Ctrl-C, SIGTERM and SIGHUP from the program's first moment to its last, and the death of whoever started it.

`StopSignal` takes over while a run trains. Imports only what Python has loaded anyway.
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
"""In the environment of a sweep's point: the process that it must not outlive."""
INTERRUPTED = 130
LOOK, GRACE = 0.5, 60.0
"""Seconds between looks at the parent, and from its end to that of a process that does not stop on SIGTERM."""
LATER = 0.05
"""Seconds until a signal that came at a bad moment is sent again."""
_asked: Counter[int] = Counter()
_again: set[int] = set()


def install() -> None:
    """Let the signals raise KeyboardInterrupt; a second Ctrl-C or SIGTERM ends the process at once.

    Ignored signals stay ignored: those of a background job, and SIGHUP under nohup.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable
    _end_with_parent()


def over(code: int) -> None:
    """From here on a signal changes nothing but the time that Python takes to end: it leaves at once, with the exit code."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number in _again:
        _again.discard(number)
    else:
        _asked[number] += 1
        if (
            _asked[number] > 1 and number != signal.SIGHUP
        ):  # a terminal that closes sends that one several times
            _leave()
        if _asked.total() > 1:
            return
    importer = _importer(frame)
    if importer.startswith(
        ("ddpmx.cli", "ddpmx.__main__", "__main__")
    ):  # nothing is done yet that would need an end
        _leave()
    if importer:
        _send_again(number)
    else:
        raise KeyboardInterrupt


def _importer(frame: FrameType | None) -> str:
    """The module whose import statement is running, the outermost of several; empty outside of any.

    C code that is interrupted in one prints a traceback and raises another error.
    """
    importer = ""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") and frame.f_back is not None:
            importer = str(frame.f_back.f_globals.get("__name__"))
        frame = frame.f_back
    return importer


def _leave() -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Python can only print what is raised in a destructor or a callback; an interrupt comes again instead."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _send_again(signal.SIGINT)
    else:
        sys.__unraisablehook__(unraisable)


def _send_again(number: int) -> None:
    _again.add(number)
    timer = threading.Timer(LATER, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def _end_with_parent() -> None:
    """Ask this process to stop when the sweep or the torchrun that started it is gone, however that ended."""
    wanted = os.environ.pop(PARENT, None)
    if wanted is None and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid() if wanted is None else int(wanted)
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
