"""Runs a sweep: each point is a run and a process of its own, in a folder below `<out>/<sweep's name>/`."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from ..comparison.comparison import compare
from ..comparison.page import write_page
from ..errors import Interrupted, RunError
from ..outputs import cannot_write
from ..outputs import check as check_output
from ..pages.page import duration
from ..plugins import trust
from ..process.stop import StopSignal
from ..runs.known_runs import finished_runs, unfinished_run
from ..runs.preflight import spec_notes, sweep_notes
from ..spec.checks import check
from ..storage.folder import RunFolder
from ..storage.provenance import ALLOW, PresentData, difference, recorded_data, refuse_changed
from ..terminal.console import Bar
from .local import Job, LocalEngine, program, slots
from .point import KEEP
from .points import Sweep, in_all_points, load_sweep
from .ray import RayEngine
from .table import table
from .trainings import Progress, Remaining, Training, announcement, trainings_of

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


def commands(request: Request, say: Callable[[str], None]) -> list[tuple[str, ...]]:
    """The command line of each training. Raises SpecError if a point cannot work.

    `say` gets the lines on which points share a training.
    """
    grid = load_sweep(request.path, request.overrides)
    _notes(grid)
    trainings = trainings_of(grid.points)
    progress = Progress.look(grid.points, request.out, request.out / grid.name)
    for line in announcement(trainings, progress):
        say(line)
    names = []
    for training in trainings:
        jobs = Remaining.of(training, progress).jobs(training)
        names += [spec.name for spec in jobs if spec is not training.first]
        names.append(training.first.name)
    order = {spec.name: index for index, spec in enumerate(grid.points)}
    return [request.command(name) for name in sorted(names, key=order.__getitem__)]


def sweep(request: Request, *, engine: str, jobs: int | None, say: Callable[[str], None]) -> None:
    """Run all points that are not finished, and report on all of them.

    Raises SpecError before anything starts, RunError if points failed, and Interrupted if the sweep was
    stopped.
    """
    grid = load_sweep(request.path, request.overrides)
    notes = _notes(grid)
    folder, trainings = request.out / grid.name, trainings_of(grid.points)
    progress = Progress.look(grid.points, request.out, folder)
    done = progress.finished.runs
    changed = _changed(trainings, progress, folder, refuse=not request.allow_changed_data)
    before = {name: f"finished before{', with other data' if name in changed else ''}" for name in done}
    result = {spec.name: before.get(spec.name, "not started") for spec in grid.points}
    waiting = [
        Job(spec.name, request.command(spec.name), folder / f"{spec.name}.log")
        for training in trainings
        for spec in Remaining.of(training, progress).jobs(training)
    ]
    with ExitStack() as stack:
        if waiting:
            workers = stack.enter_context(_engine(engine, len(waiting), jobs, request.device))
            stop = stack.enter_context(StopSignal())
            bar = stack.enter_context(Bar())
            _make(folder)
            for note in notes:
                bar.say(f"note: {note}")
            for line in announcement(trainings, progress):
                bar.say(line)
            left = len(result) - len(done)
            bar.say(f"{grid.name}: {left} of {len(result)} points to run, output in {folder}/*.log")
            stopped = _run_all(waiting, workers, stop, bar, result)
        else:
            stopped = False
    done = finished_runs(grid.points, request.out)
    _settle(trainings, done, folder, result)
    result |= before  # the first point of a training has a command even if only others are left
    if done:
        _make(folder)  # it does not exist yet if another sweep finished all points
        page = folder / "compare.html"
        # The same baseline as for `ddpmx compare` of the folder
        comparison = compare([done[name] for name in result if name in done], min(done.values()))
        write_page(comparison, comparison.groups, page)
    say(table(trainings, result, done, folder))
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


def _changed(trainings: Sequence[Training], progress: Progress, folder: Path, *, refuse: bool) -> set[str]:
    """The points whose weights, finished or not, were trained on data that have changed since.

    Raises SpecError if there are any and `refuse` is set.
    """
    present, changed = PresentData(), set()
    for training in trainings:
        shared = Remaining.of(training, progress).trained
        for spec in training.points:
            path = progress.finished.runs.get(spec.name) or unfinished_run(spec, folder) or shared
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


def _settle(
    trainings: Sequence[Training], done: Mapping[str, Path], folder: Path, result: dict[str, str]
) -> None:
    """Write the status of the points that had no command of their own to `result`."""
    for training in trainings:
        by_first = result[training.first.name]
        for spec in training.points:
            if spec.name in done:
                if not result[spec.name].startswith("finished"):
                    result[spec.name] = "finished"
            elif result[spec.name] == "not started" != by_first:
                run = unfinished_run(spec, folder, shares=True)
                ended = None if run is None else RunFolder(run).status()
                if ended is not None and ended["status"] == "running":  # it was killed with its job
                    result[spec.name] = by_first
                elif ended is not None:
                    why = ended.get("why", "") if ended["status"] == "failed" else ""
                    result[spec.name] = ": ".join(filter(None, [ended["status"], why]))


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
