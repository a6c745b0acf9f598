"""Runs a sweep: each point is a run and a process of its own, in a folder below `<out>/<sweep's name>/`."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch

from ..comparison.comparison import compare
from ..comparison.page import write_page
from ..errors import Interrupted, RunError
from ..outputs import cannot_write
from ..outputs import check as check_output
from ..pages.page import duration
from ..plugins import trust
from ..process.stop import StopSignal
from ..runs.preflight import spec_notes, sweep_notes
from ..runs.resume import Resume, finished_runs, unfinished_run, wait_until_free
from ..runs.run import run
from ..spec.checks import check
from ..spec.schema import Spec
from ..storage.folder import RunFolder
from ..storage.provenance import ALLOW, PresentData, difference, recorded_data, refuse_changed
from ..terminal.console import Bar
from .local import Job, LocalEngine, program, slots
from .points import Sweep, in_all_points, load_sweep
from .ray import RayEngine

KEEP = (
    f"{ALLOW} keeps finished points and resumes the others; "
    "another --out trains all points on the present data"
)
"""The hint of the error about changed data."""
POLL = 0.1
"""Seconds between checks of the running points."""


@dataclass(frozen=True)
class Request:
    """The arguments of `ddpmx sweep` that its points share."""

    path: Path
    """The spec file."""
    overrides: tuple[str, ...]
    """The values of `-s`."""
    out: Path
    """The folder for runs."""
    device: str | None = None
    """The value of `--device`."""
    allow_changed_data: bool = False
    """Whether points that were trained on other data count as finished, or are resumed."""

    def command(self, point: str) -> tuple[str, ...]:
        """The command line that runs one point, from any folder."""
        settings = [part for text in self.overrides for part in ("-s", text)]
        options = ["--out", str(self.out.resolve()), *(["--device", self.device] if self.device else [])]
        options += [ALLOW] if self.allow_changed_data else []
        options += ["--allow-plugins"] if trust.PERMISSION.is_granted else []
        return (*program(), "run", str(self.path.resolve()), "--point", point, *settings, *options)


class Engine(Protocol):
    """Starts points and reports which have ended. Leaving the context stops those that are still running."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def has_room(self) -> bool: ...

    def start(self, job: Job) -> None: ...

    def ended(self) -> list[tuple[Job, int]]: ...

    def stop(self) -> None: ...


def run_point(
    grid: Sweep, spec: Spec, *, out: Path, device: torch.device, allow_changed_data: bool = False
) -> Path:
    """Run one point as its sweep does: keep a finished run, resume a stopped one. Returns its folder."""
    done = finished_runs([spec], out).get(spec.name)
    if done is not None:
        if not allow_changed_data:
            refuse_changed(spec, RunFolder(done), PresentData().load(spec), KEEP)
        return done
    folder = out / grid.name
    previous = unfinished_run(spec, folder)
    if previous is not None:
        wait_until_free(previous)
        if RunFolder(previous).is_finished:  # another process has finished it meanwhile
            return previous
    return run(
        spec, out=folder, device=device, resume=Resume(previous, allow_changed_data) if previous else None
    )


def commands(request: Request) -> list[tuple[str, ...]]:
    """The command line of each point. Raises SpecError if a point cannot work."""
    grid = load_sweep(request.path, request.overrides)
    _notes(grid)
    return [request.command(spec.name) for spec in grid.points]


def sweep(request: Request, *, engine: str, jobs: int | None, say: Callable[[str], None]) -> None:
    """Run all points that are not finished, and report on all of them.

    Raises SpecError before anything starts, RunError if points failed, and Interrupted if the sweep was
    stopped.
    """
    grid = load_sweep(request.path, request.overrides)
    notes = _notes(grid)
    done, folder = finished_runs(grid.points, request.out), request.out / grid.name
    changed = _changed(grid.points, done, folder, refuse=not request.allow_changed_data)
    before = {name: f"finished before{', with other data' if name in changed else ''}" for name in done}
    result = {spec.name: before.get(spec.name, "not started") for spec in grid.points}
    waiting = [
        Job(name, request.command(name), folder / f"{name}.log") for name in result if name not in done
    ]
    with ExitStack() as stack:
        if waiting:
            workers = stack.enter_context(_engine(engine, len(waiting), jobs, request.device))
            stop = stack.enter_context(StopSignal())
            bar = stack.enter_context(Bar())
            _make(folder)
            for note in notes:
                bar.say(f"note: {note}")
            bar.say(f"{grid.name}: {len(waiting)} of {len(result)} points to run, output in {folder}/*.log")
            stopped = _run_all(waiting, workers, stop, bar, result)
        else:
            stopped = False
    done = finished_runs(grid.points, request.out)
    if done:
        _make(folder)  # it does not exist yet if another sweep finished all points
        page = folder / "compare.html"
        # The same baseline as for `ddpmx compare` of the folder
        comparison = compare([done[name] for name in result if name in done], min(done.values()))
        write_page(comparison, comparison.groups, page)
    say(_table([[name, status, *_where(name, status, done, folder)] for name, status in result.items()]))
    if done:
        say(f"compared: {page}")
    unfinished = [name for name in result if name not in done]
    if stopped:
        raise Interrupted(
            f"stopped; {len(done)} of {len(result)} points are finished. The same command resumes the others."
        )
    if unfinished:
        raise RunError(
            f"{len(unfinished)} of {len(result)} points failed. The same command tries them again."
        )


def _changed(points: list[Spec], done: dict[str, Path], folder: Path, *, refuse: bool) -> set[str]:
    """The points whose run, finished or not, was trained on data that have changed since.

    Raises SpecError if there are any and `refuse` is set.
    """
    present, changed = PresentData(), set()
    for spec in points:
        path = done.get(spec.name) or unfinished_run(spec, folder)
        if path is None or recorded_data(run_of := RunFolder(path)) is None:
            continue
        if refuse:
            refuse_changed(spec, run_of, present.load(spec), KEEP)
        elif difference(run_of, present.load(spec)):
            changed.add(spec.name)
    return changed


def _engine(name: str, points: int, jobs: int | None, device: str | None) -> Engine:
    return LocalEngine(slots(points, jobs, device)) if name == "local" else RayEngine(points, jobs, device)


def _run_all(jobs: list[Job], engine: Engine, stop: StopSignal, bar: Bar, result: dict[str, str]) -> bool:
    """Start jobs whenever there is room, until all have ended, and write each one's status to `result`.

    Returns whether a stop was requested.
    """
    waiting = deque(jobs)
    running: dict[str, tuple[Job, float]] = {}
    total, asked = len(jobs), False
    while waiting or running:
        if stop() and not asked:
            asked = True
            waiting.clear()
            engine.stop()
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


def _notes(grid: Sweep) -> list[str]:
    """The preflight's notes about the points, each once. Raises SpecError if points cannot work."""
    points_of: dict[str, list[str]] = {}
    names = [spec.name for spec in grid.points]
    for name, notes in zip(
        names, in_all_points(names, grid.points, lambda spec: spec_notes(spec, check(spec))), strict=True
    ):
        for note in notes:
            points_of.setdefault(note, []).append(name)
    of_points = [
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {note}"
        for note, names in points_of.items()
    ]
    return of_points + sweep_notes(grid.points)


def _make(folder: Path) -> None:
    """Create the folder and check that the sweep's page can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "--out") from None
    check_output(folder / "compare.html", "--out")


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


def _where(name: str, status: str, done: dict[str, Path], folder: Path) -> tuple[str, str]:
    """(training time, run folder) of a finished point; ("", log) of another one."""
    if name in done:
        ended = RunFolder(done[name]).status()
        return duration(ended.get("seconds", 0) if ended else 0), str(done[name])
    return "", str(folder / f"{name}.log") if status != "not started" else ""


def _table(rows: list[list[str]]) -> str:
    rows = [["point", "status", "time", "where"], *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
