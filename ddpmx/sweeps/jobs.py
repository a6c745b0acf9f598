"""Runs a sweep's jobs: starts them whenever the engine has room, until all have ended or a stop is asked."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from ..pages.page import duration
from ..process.stop import StopSignal
from ..terminal.console import Bar
from .local import Job, LocalEngine, slots
from .ray import RayEngine

POLL = 0.1
"""Seconds between checks of the running points."""


class Engine(Protocol):
    """Starts points and reports which have ended. Leaving the context stops those that are still running."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def at_once(self) -> int:
        """How many jobs run at the same time."""

    def has_room(self) -> bool: ...

    def start(self, job: Job) -> None: ...

    def ended(self) -> list[tuple[Job, int]]: ...

    def stop(self) -> None: ...


def engine_of(name: str, points: int, jobs: int | None, device: str | None) -> Engine:
    """The engine of that name, `local` or `ray`, for so many points of which `jobs` run at the same time."""
    return LocalEngine(slots(points, jobs, device)) if name == "local" else RayEngine(points, jobs, device)


def run_jobs(
    jobs: Sequence[Job],
    engine: Engine,
    stop: StopSignal,
    bar: Bar,
    result: dict[str, str],
    *,
    deadline: float = math.inf,
) -> bool:
    """Start jobs whenever there is room, until all have ended, and write each one's status to `result`.

    No job is started after the deadline, a value of `time.monotonic()`; these keep their status. Returns
    whether a stop was requested.
    """
    waiting = deque(jobs)
    running: dict[str, tuple[Job, float]] = {}
    total, asked = len(jobs), False
    while waiting or running:
        if stop() and not asked:
            asked = True
            waiting.clear()
            engine.stop()
        if time.monotonic() >= deadline:
            waiting.clear()
        while waiting and engine.has_room():
            job = waiting.popleft()
            engine.start(job)
            running[job.name] = (job, time.monotonic())
        for job, code in engine.ended():
            seconds = time.monotonic() - running.pop(job.name)[1]
            result[job.name] = _status(job, code, asked)
            bar.say(f"{job.name}: {result[job.name]} after {duration(seconds)}")
        bar.show("points", total - len(waiting) - len(running), total, f"{len(running)} running")
        bar.foot(*(f"{name}: {_last_line(job.log)}" for name, (job, _) in running.items()))
        time.sleep(POLL)
    return asked


def _status(job: Job, code: int, asked: bool) -> str:
    """A job's status by its exit code; `asked`: whether the sweep had been asked to stop."""
    if code == 0:
        return "finished"
    if asked and code in (130, -signal.SIGTERM):
        return "interrupted"
    if code < 0:
        return f"failed: killed by {signal.Signals(-code).name}"
    lines = _tail(job.log)
    errors = [line for line in lines if line.startswith(("failed: ", "error: "))]
    return f"failed: {(errors or lines or [f'exit code {code}'])[-1].removeprefix('failed: ')}"


def _last_line(log: Path) -> str:
    return (_tail(log) or [""])[-1]


def _tail(log: Path) -> list[str]:
    """The last lines of the newest attempt's output, without empty ones."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
        lines = file.read().decode(errors="replace").splitlines()
    start = max((index for index, line in enumerate(lines) if line.startswith("$ ")), default=-1)
    return [line for line in lines[start + 1 :] if line.strip()]
